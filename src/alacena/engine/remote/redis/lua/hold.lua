-- Hold an entry for a source transaction, beside others that may hold it, remove it, and end the generation of what the
-- same resource has at other scopes.
-- KEYS: hold, entry, lease, generation of the resource.  ARGV: token, life of the hold in ms, how long one is remembered
--       that has come to its end by itself
-- Each hold has an end of its own: one whose process died must not last for as long as others write. It is remembered behind
-- that, for a reading that began before and may have read before the commit.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local life = ARGV[2] + ARGV[3]
if redis.call('PTTL', KEYS[1]) < life then
  redis.call('PEXPIRE', KEYS[1], life)
end
redis.call('DEL', KEYS[4], KEYS[3], KEYS[2])
return 1
