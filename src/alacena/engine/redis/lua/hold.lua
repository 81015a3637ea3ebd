-- Hold an entry for a source transaction, beside others that may hold it, and remove it.
-- KEYS: hold, entry, lease.  ARGV: token, life of the hold in ms
redis.call('SADD', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('UNLINK', KEYS[3], KEYS[2])
return 1
