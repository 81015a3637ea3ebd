-- Turn a reservation into what was really spent, which is at most what it set aside; the rest is free again.
-- KEYS: data, open, done   ARGV: id, actual, remember_ms
-- Returns {spent, reserved}. Settling twice alike answers alike.
local id = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 20)) do
  redis.call('ZREM', KEYS[3], old)
  redis.call('HDEL', KEYS[1], 's:' .. old)
end
local settled = redis.call('HGET', KEYS[1], 's:' .. id)
if settled and settled ~= ARGV[2] then return redis.error_reply('IDEMCONFLICT it was settled at ' .. settled) end
if not settled then
  local expiry = redis.call('ZSCORE', KEYS[2], id)
  if not expiry or tonumber(expiry) <= now then return redis.error_reply('NOTOWNER the reservation ran out') end
  local amount = redis.call('HGET', KEYS[1], 'a:' .. id)
  if tonumber(ARGV[2]) > tonumber(amount) then return redis.error_reply('OVERFLOW the reservation is of ' .. amount) end
  redis.call('HINCRBY', KEYS[1], 'reserved', -tonumber(amount))
  redis.call('HINCRBY', KEYS[1], 'spent', ARGV[2])
  redis.call('HDEL', KEYS[1], 'a:' .. id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('HSET', KEYS[1], 's:' .. id, ARGV[2])
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[3]), id)
end
return {tonumber(redis.call('HGET', KEYS[1], 'spent')), tonumber(redis.call('HGET', KEYS[1], 'reserved'))}
