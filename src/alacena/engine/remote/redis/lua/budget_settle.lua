-- Turn a reservation into what was really spent; what is left of it is free again.
-- What was spent counts in full, also where it is more than was set aside, or the reservation has run out.
-- KEYS: data, open, done   ARGV: id, actual, remember_ms, milliseconds after which an unused budget is forgotten (0: never)
-- Returns {spent, reserved, 1 if the reservation had run out}. Settling twice alike answers alike.
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The budget's own clock goes on where the server's is set back: no reservation outlasts its time.
local clock = redis.call('HMGET', KEYS[1], 'clock', 'ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
-- A full server refuses nothing after a first removal, even of nothing: what was spent must be counted there.
redis.call('HDEL', KEYS[1], '')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'clock', wall, 'ahead', ahead) end
local id = ARGV[1]
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 20)) do
  redis.call('ZREM', KEYS[3], old)
  redis.call('HDEL', KEYS[1], 's:' .. old)
end
local settled = redis.call('HGET', KEYS[1], 's:' .. id)
local late = 0
if settled then
  local actual, before = string.match(settled, '^(%d+):?(%d*)$')
  if actual ~= ARGV[2] then return redis.error_reply('IDEMCONFLICT it was settled at ' .. actual) end
  late = tonumber(before) or 0
else
  local counts = redis.call('HMGET', KEYS[1], 'spent', 'reserved')
  if tonumber(counts[1] or '0') + tonumber(counts[2] or '0') + tonumber(ARGV[2]) > 9007199254740991 then
    return redis.error_reply('OVERFLOW what was spent would leave the range of exact integers')
  end
  local expiry = redis.call('ZSCORE', KEYS[2], id)
  if not expiry or tonumber(expiry) <= now then late = 1 end
  redis.call('HINCRBY', KEYS[1], 'reserved', 0 - tonumber(redis.call('HGET', KEYS[1], 'a:' .. id) or '0'))
  redis.call('HINCRBY', KEYS[1], 'spent', ARGV[2])
  redis.call('HDEL', KEYS[1], 'a:' .. id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('HSET', KEYS[1], 's:' .. id, ARGV[2] .. ':' .. late)
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[3]), id)
  redis.call('HSET', KEYS[1], 'clock', wall, 'ahead', ahead)
  for _, key in ipairs(KEYS) do
    if ARGV[4] == '0' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[4]) end
  end
end
return {tonumber(redis.call('HGET', KEYS[1], 'spent') or '0'), tonumber(redis.call('HGET', KEYS[1], 'reserved') or '0'), late}
