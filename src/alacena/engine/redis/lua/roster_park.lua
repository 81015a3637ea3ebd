-- Put a member's next turn off, or strike it off, unless it announced itself since its turn.
-- KEYS: roster, announced   ARGV: member, mark of its turn, milliseconds from now (-1: strike it off)
-- Returns 1 if done, 0 if it announced itself or was not on the roster.
if (redis.call('HGET', KEYS[2], ARGV[1]) or '0') ~= ARGV[2] then return 0 end
if ARGV[3] == '-1' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3]) * 1000), ARGV[1])
return 1
