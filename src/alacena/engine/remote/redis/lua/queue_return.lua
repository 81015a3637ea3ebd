-- Give back what a token holds and nobody has seen: first in line again, and not counted as an attempt.
-- KEYS: data, ready, delayed, flight, dead, done   ARGV: channel, token, how many items it may hold
-- Returns how many there were.
local count = 0
for i = tonumber(ARGV[3]), 1, -1 do
  local slot = ARGV[2] .. ':' .. i
  local id = redis.call('HGET', KEYS[1], 'k:' .. slot)
  if id then
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[1], 'k:' .. slot, 'o:' .. id)
    redis.call('HINCRBY', KEYS[1], 'n:' .. id, -1)
    redis.call('LPUSH', KEYS[2], id)
    count = count + 1
  end
end
if count > 0 then redis.pcall('PUBLISH', ARGV[1], '1') end
return count
