-- Set an amount aside if it fits. Asking again with the same id answers alike.
-- KEYS: data, open, done   ARGV: limit, id, amount, ttl_ms
-- Returns {1 or 0, what remains, milliseconds until a reservation runs out (-1: none is open)}.
local limit, id, amount = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('HINCRBY', KEYS[1], 'reserved', -tonumber(redis.call('HGET', KEYS[1], 'a:' .. gone)))
  redis.call('HDEL', KEYS[1], 'a:' .. gone)
  redis.call('ZREM', KEYS[2], gone)
end
local taken = tonumber(redis.call('HGET', KEYS[1], 'spent') or '0') + tonumber(redis.call('HGET', KEYS[1], 'reserved') or '0')
local known = redis.call('HGET', KEYS[1], 'a:' .. id)
if known then
  if tonumber(known) ~= amount then return redis.error_reply('IDEMCONFLICT the id holds a reservation of ' .. known) end
  return {1, limit - taken, 0}
end
if redis.call('HEXISTS', KEYS[1], 's:' .. id) == 1 then return redis.error_reply('NOTOWNER the reservation was settled') end
if taken + amount > limit then
  local soonest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  return {0, limit - taken, soonest and math.max(tonumber(soonest) - now, 0) or -1}
end
redis.call('HSET', KEYS[1], 'a:' .. id, ARGV[3])
redis.call('HINCRBY', KEYS[1], 'reserved', ARGV[3])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), id)
return {1, limit - taken - amount, 0}
