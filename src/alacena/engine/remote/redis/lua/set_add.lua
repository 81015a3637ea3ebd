-- Add members to a set and give the whole set its expiry in the same step.
-- KEYS: set   ARGV: ttl_ms (0: leave as it is), member...
-- Returns how many members are new.
local added = 0
for i = 2, #ARGV do added = added + redis.call('SADD', KEYS[1], ARGV[i]) end
if ARGV[1] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return added
