-- Say that a process is there and what it has counted, and take the questions that wait for it.
-- KEYS: members (name of each process by the instant of its last word), snapshot, inbox, holders (name of each process that
--       holds locks, by the instant at which the last of these ends by itself), its locks
-- ARGV: name, snapshot, for how long it is kept in ms, for how long a silent process is listed in ms, its locks, when the
--       last of these ends by itself, in ms from now (0: it holds none)
-- Returns the questions.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[4]))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', now))
if ARGV[6] == '0' then
  redis.call('ZREM', KEYS[4], ARGV[1])
  redis.call('DEL', KEYS[5])
else
  redis.call('ZADD', KEYS[4], string.format('%.0f', now + ARGV[6]), ARGV[1])
  redis.call('SET', KEYS[5], ARGV[5], 'PX', ARGV[6])
end
local questions = redis.call('LRANGE', KEYS[3], 0, -1)
redis.call('DEL', KEYS[3])
return questions
