-- Say that a member may have work: now (its turn comes), or only that it exists.
-- KEYS: roster, announced (instant of each member's last word)   ARGV: member, 1 if it has work now, channel
-- Returns 1.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if ARGV[2] == '1' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', now))
  redis.pcall('PUBLISH', ARGV[3], '1')
else
  redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', now), ARGV[1])
end
return 1
