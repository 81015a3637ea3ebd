-- Read the generations of tags that a load named after it had its lease, minting those that are missing, and what the
-- journal says since then.
-- KEYS: journal, generations ...
-- ARGV: nonce for generations that are missing, their life in ms, from which byte of the journal on
-- Returns the part of the journal, then the values of the generations.
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
  end
end
local found = redis.call('MGET', unpack(KEYS, 2))
table.insert(found, 1, redis.call('GETRANGE', KEYS[1], ARGV[3], -1))
return found
