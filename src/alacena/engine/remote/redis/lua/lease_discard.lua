-- Remove an entry whose newer value is not stored, unless the lease is not the asker's any more: then somebody else has
-- stored or removed meanwhile.
-- KEYS: entry, lease.  ARGV: token.  Returns 1 or 0.
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2], KEYS[1])
  return 1
end
return 0
