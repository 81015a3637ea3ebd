-- Forget dead letters for good; they count as settled.
-- KEYS: data, ready, delayed, flight, dead, done   ARGV: ids (none: the oldest 1000)
-- Returns how many there were.
local ids = #ARGV > 0 and ARGV or redis.call('ZRANGE', KEYS[5], 0, 999)
local count = 0
for _, id in ipairs(ids) do
  if redis.call('ZREM', KEYS[5], id) == 1 then
    redis.call('HDEL', KEYS[1], 'v:' .. id, 'n:' .. id, 'r:' .. id, 'x:' .. id)
    count = count + 1
  end
end
if count > 0 then
  redis.call('HINCRBY', KEYS[1], 'm:acked', count)
  redis.call('HINCRBY', KEYS[1], 'm:discarded', count)
end
-- An empty queue is forgotten after a day; what it counted, too.
local held = redis.call('LLEN', KEYS[2])
for i = 3, 5 do held = held + redis.call('ZCARD', KEYS[i]) end
for _, key in ipairs({KEYS[1], KEYS[6]}) do
  if held == 0 then redis.call('PEXPIRE', key, 86400000) else redis.call('PERSIST', key) end
end
return count
