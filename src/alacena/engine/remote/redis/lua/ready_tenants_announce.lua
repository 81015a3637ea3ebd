-- Say that a member may have work: now (its turn comes), or only that it exists.
-- KEYS: roster, announced (instant of each member's last word), clock; then, if the object itself is listed, the list of all
--       of its kind, by their last word
-- ARGV: member, 1 if it has work now, channel; the object's name in that list, how many are listed at most
-- A roster that nobody uses is forgotten after 90 days, and so is an object that says nothing. Returns 1.
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]
-- The roster's own clock goes on where the server's is set back: no turn comes later than it was put off to.
local clock = redis.call('HMGET', KEYS[3], 'clock', 'ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
redis.call('HSET', KEYS[3], 'clock', string.format('%.0f', wall), 'ahead', string.format('%.0f', ahead))
if ARGV[2] == '1' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now))
  redis.pcall('PUBLISH', ARGV[3], '1')
else
  redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', now), ARGV[1])
end
if KEYS[4] then
  redis.call('ZADD', KEYS[4], string.format('%.0f', wall), ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', wall - 7776000000000))
  local over = redis.call('ZCARD', KEYS[4]) - ARGV[5]
  if over > 0 then redis.call('ZPOPMIN', KEYS[4], over) end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 7776000000) end
return 1
