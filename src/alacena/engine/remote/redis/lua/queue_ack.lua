-- Finish items for good, each only by the slot that holds its unexpired lease. Acknowledging twice answers alike.
-- KEYS: data, ready, delayed, flight, dead, done
-- ARGV: remember_ms of ids given, ... of ids made (they begin with '~'), then id, slot...
-- Returns 1 or 0 for each item.
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The queue's own clock goes on where the server's is set back: nothing waits longer than it was told to.
local clock = redis.call('HMGET', KEYS[1], 'm:clock', 'm:ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
-- A full server refuses nothing after a first removal, even of nothing: what takes items out must work there.
redis.call('HDEL', KEYS[1], '')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'm:clock', wall, 'm:ahead', ahead) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', now, 'LIMIT', 0, 20)) do
  redis.call('ZREM', KEYS[6], id)
  redis.call('HDEL', KEYS[1], 'd:' .. id)
end
local answers, count = {}, 0
for i = 3, #ARGV, 2 do
  local id, slot = ARGV[i], ARGV[i + 1]
  local expiry = redis.call('ZSCORE', KEYS[4], id)
  if expiry and tonumber(expiry) > now and redis.call('HGET', KEYS[1], 'o:' .. id) == slot then
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[1], 'v:' .. id, 'n:' .. id, 'o:' .. id, 'r:' .. id, 'x:' .. id, 'k:' .. slot)
    redis.call('HSET', KEYS[1], 'd:' .. id, slot)
    redis.call('ZADD', KEYS[6], now + tonumber(string.sub(id, 1, 1) == '~' and ARGV[2] or ARGV[1]), id)
    count = count + 1
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = redis.call('HGET', KEYS[1], 'd:' .. id) == slot and 1 or 0
  end
end
if count > 0 then
  redis.call('HINCRBY', KEYS[1], 'm:acked', count)
  -- Two counts of whole minutes are enough for a rate over the last one.
  local minute = math.floor(wall / 60000)
  local last = tonumber(redis.call('HGET', KEYS[1], 'm:minute') or '0')
  if last ~= minute then
    local before = last == minute - 1 and redis.call('HGET', KEYS[1], 'm:this') or '0'
    redis.call('HSET', KEYS[1], 'm:minute', minute, 'm:this', '0', 'm:before', before or '0')
  end
  redis.call('HINCRBY', KEYS[1], 'm:this', count)
end
-- An empty queue is forgotten after a day; what it counted, too.
local held = redis.call('LLEN', KEYS[2])
for i = 3, 5 do held = held + redis.call('ZCARD', KEYS[i]) end
for _, key in ipairs({KEYS[1], KEYS[6]}) do
  if held == 0 then redis.call('PEXPIRE', key, 86400000) else redis.call('PERSIST', key) end
end
return answers
