-- Set an amount aside if it fits. Asking again with the same id answers alike.
-- KEYS: data, open, done   ARGV: limit, id, amount, ttl_ms, milliseconds after which an unused budget is forgotten (0: never)
-- Returns {0 (does not fit), 1 (set aside), 2 (it was before) or 3 (more has run out: ask again), what remains,
-- milliseconds until a reservation runs out (-1: none is open)}.
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The budget's own clock goes on where the server's is set back: no reservation outlasts its time.
local clock = redis.call('HMGET', KEYS[1], 'clock', 'ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'clock', wall, 'ahead', ahead) end
local limit, id, amount = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 501)
for i = 1, math.min(#expired, 500) do
  local gone = expired[i]
  redis.call('HINCRBY', KEYS[1], 'reserved', 0 - tonumber(redis.call('HGET', KEYS[1], 'a:' .. gone) or '0'))
  redis.call('HDEL', KEYS[1], 'a:' .. gone)
  redis.call('ZREM', KEYS[2], gone)
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 20)) do
  redis.call('ZREM', KEYS[3], old)
  redis.call('HDEL', KEYS[1], 's:' .. old)
end
local taken = tonumber(redis.call('HGET', KEYS[1], 'spent') or '0') + tonumber(redis.call('HGET', KEYS[1], 'reserved') or '0')
local known = redis.call('HGET', KEYS[1], 'a:' .. id)
if known then
  if tonumber(known) ~= amount then return redis.error_reply('IDEMCONFLICT the id holds a reservation of ' .. known) end
  return {2, limit - taken, 0}
end
local settled = redis.call('ZSCORE', KEYS[3], id)
if settled and tonumber(settled) > now then return redis.error_reply('NOTOWNER the reservation was settled') end
if taken + amount > limit then
  if #expired > 500 then return {3, limit - taken, 0} end
  local soonest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  return {0, limit - taken, soonest and math.max(tonumber(soonest) - now, 0) or -1}
end
redis.call('HDEL', KEYS[1], 's:' .. id)
redis.call('ZREM', KEYS[3], id)
redis.call('HSET', KEYS[1], 'a:' .. id, ARGV[3])
redis.call('HINCRBY', KEYS[1], 'reserved', ARGV[3])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), id)
redis.call('HSET', KEYS[1], 'clock', wall, 'ahead', ahead)
for _, key in ipairs(KEYS) do
  if ARGV[5] == '0' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[5]) end
end
return {1, limit - taken - amount, 0}
