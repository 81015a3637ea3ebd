-- Forget dead letters for good; they count as settled.
-- KEYS: data, dead   ARGV: ids (none: the oldest 1000)
-- Returns how many there were.
local ids = #ARGV > 0 and ARGV or redis.call('ZRANGE', KEYS[2], 0, 999)
local count = 0
for _, id in ipairs(ids) do
  if redis.call('ZREM', KEYS[2], id) == 1 then
    redis.call('HDEL', KEYS[1], 'v:' .. id, 'n:' .. id, 'r:' .. id, 'x:' .. id)
    count = count + 1
  end
end
if count > 0 then
  redis.call('HINCRBY', KEYS[1], 'm:acked', count)
  redis.call('HINCRBY', KEYS[1], 'm:discarded', count)
end
return count
