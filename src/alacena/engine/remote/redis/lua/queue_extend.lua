-- Lengthen leases, each only for the slot that holds it unexpired.
-- KEYS: data, ready, delayed, flight, dead, done   ARGV: visibility_ms, then id, slot...
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
local answers = {}
for i = 2, #ARGV, 2 do
  local id, slot = ARGV[i], ARGV[i + 1]
  local expiry = redis.call('ZSCORE', KEYS[4], id)
  local owns = expiry and tonumber(expiry) > now and redis.call('HGET', KEYS[1], 'o:' .. id) == slot
  if owns then redis.call('ZADD', KEYS[4], now + tonumber(ARGV[1]), id) end
  answers[#answers + 1] = owns and 1 or 0
end
return answers
