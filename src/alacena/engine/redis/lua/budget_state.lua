-- Read a budget; what ran out no longer counts as reserved.
-- KEYS: data, open
-- Returns {spent, reserved, open reservations}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)
local reserved = tonumber(redis.call('HGET', KEYS[1], 'reserved') or '0')
for _, id in ipairs(expired) do reserved = reserved - tonumber(redis.call('HGET', KEYS[1], 'a:' .. id)) end
return {tonumber(redis.call('HGET', KEYS[1], 'spent') or '0'), reserved, redis.call('ZCARD', KEYS[2]) - #expired}
