-- End one transaction's hold, and remove the entry whatever the hold's state.
-- KEYS: hold, entry, lease.  ARGV: token.  Returns 1 if the hold had lasted until now, else 0.
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
local lasted = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3], KEYS[2])
return lasted
