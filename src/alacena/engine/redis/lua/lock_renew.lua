-- Lengthen a lock's lease for its owner alone.
-- KEYS: lock   ARGV: token, ttl_ms
-- Returns 1, or 0 where the token does not hold the lock.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
