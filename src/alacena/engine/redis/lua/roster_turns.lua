-- Take the members whose turn it is, and send them to the end of the round.
-- KEYS: roster, announced   ARGV: how many
-- The mark of a turn is the member's last word, and not the turn: else of many who find nothing, each would undo
-- what the others put off.
-- Returns {member, mark}... and, last, the milliseconds until the next turn (-1: nobody is on the roster).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local turns = {}
for i, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + i), member)
  turns[i] = {member, redis.call('HGET', KEYS[2], member) or '0'}
end
local soonest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local left = soonest and math.max(math.ceil((tonumber(soonest) - now) / 1000), 0) or -1
return {turns, left}
