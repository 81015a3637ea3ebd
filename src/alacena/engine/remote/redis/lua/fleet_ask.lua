-- Put a question into the inbox of a process.
-- KEYS: inbox   ARGV: question, for how long it waits in ms, how many may wait
-- Returns 1, or 0 if as many wait as may.
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
