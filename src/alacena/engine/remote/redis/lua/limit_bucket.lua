-- A token bucket as one instant: when the bucket would be full again (the generic cell rate algorithm).
-- KEYS: instant   ARGV: microseconds a token, burst, cost
-- Returns {1 or 0, tokens that remain, milliseconds until it is worth asking again (-1: never)}.
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local whole = math.ceil(burst * interval)
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local function keep(instant)
  redis.call('SET', KEYS[1], string.format('%.0f', instant), 'PX', string.format('%.0f', math.ceil((instant - now) / 1000) + 1))
end
if full_at > now + whole then
  -- Further ahead than a whole burst: the clock was set back. The bucket is empty as of now, and fills from here.
  full_at = now + whole
  keep(full_at)
end
local room = now + whole - full_at
local need = math.ceil(cost * interval)
if cost > burst then return {0, math.floor(room / interval), -1} end
if need > room then return {0, math.floor(room / interval), math.ceil((need - room) / 1000)} end
keep(full_at + need)
return {1, math.floor((room - need) / interval), 0}
