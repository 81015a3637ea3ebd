-- End one transaction's hold, and remove the entry whatever the hold's state.
-- KEYS: hold, entry, lease.  ARGV: token.  Returns 1 where the hold had lasted until now, else 0.
local lasted = redis.call('SREM', KEYS[1], ARGV[1])
redis.call('UNLINK', KEYS[3], KEYS[2])
return lasted
