-- End one transaction's hold, and remove the entry whatever the hold's state.
-- KEYS: hold, entry, lease.  ARGV: token.  Returns 1 if the hold was there, be it behind its own end, else 0.
local there = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3], KEYS[2])
return there
