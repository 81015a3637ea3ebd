-- Prolong a lease that is still the asker's.  KEYS: lease.  ARGV: token, lease in ms.  Returns 1 or 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('STRLEN', KEYS[1])
  return 1
end
return 0
