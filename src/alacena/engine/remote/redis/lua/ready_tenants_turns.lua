-- Take the members whose turn it is, and send them to the end of the round.
-- KEYS: roster, announced, clock   ARGV: how many
-- The mark of a turn is the member's last word, and not the turn: else of many who find nothing, each would undo
-- what the others put off.
-- Returns {member, mark}... and, last, the milliseconds until the next turn (-1: nobody is on the roster).
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]
-- The roster's own clock goes on where the server's is set back: no turn comes later than it was put off to.
local clock = redis.call('HMGET', KEYS[3], 'clock', 'ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
local turns = {}
for i, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + i), member)
  turns[i] = {member, redis.call('HGET', KEYS[2], member) or '0'}
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[3], 'clock', string.format('%.0f', wall), 'ahead', string.format('%.0f', ahead))
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 7776000000) end
end
local soonest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local left = soonest and math.max(math.ceil((tonumber(soonest) - now) / 1000), 0) or -1
return {turns, left}
