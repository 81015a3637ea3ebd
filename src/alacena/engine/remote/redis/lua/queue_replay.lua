-- Make dead letters ready again, with all their attempts before them.
-- KEYS: data, ready, delayed, flight, dead, done   ARGV: channel, then ids (none: the oldest 1000)
-- Returns how many there were.
local ids = #ARGV > 1 and {unpack(ARGV, 2)} or redis.call('ZRANGE', KEYS[5], 0, 999)
local count = 0
for _, id in ipairs(ids) do
  if redis.call('ZREM', KEYS[5], id) == 1 then
    redis.call('HDEL', KEYS[1], 'n:' .. id, 'r:' .. id, 'x:' .. id)
    redis.call('RPUSH', KEYS[2], id)
    count = count + 1
  end
end
if count > 0 then redis.pcall('PUBLISH', ARGV[1], '1') end
return count
