-- Read a budget; what ran out is freed first.
-- KEYS: data, open, done
-- Returns {spent, reserved, open reservations, 1 if more has run out: ask again}.
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The budget's own clock goes on where the server's is set back: no reservation outlasts its time.
local clock = redis.call('HMGET', KEYS[1], 'clock', 'ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'clock', wall, 'ahead', ahead) end
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 501)
for i = 1, math.min(#expired, 500) do
  local gone = expired[i]
  redis.call('HINCRBY', KEYS[1], 'reserved', 0 - tonumber(redis.call('HGET', KEYS[1], 'a:' .. gone) or '0'))
  redis.call('HDEL', KEYS[1], 'a:' .. gone)
  redis.call('ZREM', KEYS[2], gone)
end
return {
  tonumber(redis.call('HGET', KEYS[1], 'spent') or '0'), tonumber(redis.call('HGET', KEYS[1], 'reserved') or '0'),
  redis.call('ZCARD', KEYS[2]), #expired > 500 and 1 or 0
}
