-- End a hold that is still the asker's, and remove the entry whatever the hold's state.
-- KEYS: hold, entry, lease.  ARGV: token.  Returns 1 where the hold had lasted until now, else 0.
local lasted = 0
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  lasted = 1
end
redis.call('UNLINK', KEYS[2], KEYS[3])
return lasted
