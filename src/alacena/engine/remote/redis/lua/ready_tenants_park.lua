-- Put a member's next turn off, or strike it off, unless it announced itself since its turn.
-- KEYS: roster, announced, clock   ARGV: member, mark of its turn, milliseconds from now (-1: strike it off)
-- Returns 1 if done, 0 if it announced itself or was not on the roster.
if (redis.call('HGET', KEYS[2], ARGV[1]) or '0') ~= ARGV[2] then return 0 end
if ARGV[3] == '-1' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]
-- The roster's own clock goes on where the server's is set back: no turn comes later than it was put off to.
local clock = redis.call('HMGET', KEYS[3], 'clock', 'ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
redis.call('HSET', KEYS[3], 'clock', string.format('%.0f', wall), 'ahead', string.format('%.0f', ahead))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3]) * 1000), ARGV[1])
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 7776000000) end
return 1
