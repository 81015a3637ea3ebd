-- Read the generations of tags that a load named after it had its lease, minting those that are missing, and what the
-- journal says since then.
-- KEYS: journal, generations ...
-- ARGV: nonce for generations that are missing, their life in ms, bytes of a journal's name, from which byte on to read
-- Returns the journal's name, what it says from there on, then the values of the generations.
-- All are read by one command: Redis 7.0 notes every key of the script at each that reads.
local there = redis.call('MGET', unpack(KEYS, 2))
for i = 2, #KEYS do
  if not there[i - 1] then
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
  end
end
local found = redis.call('MGET', unpack(KEYS, 2))
return {redis.call('GETRANGE', KEYS[1], 0, ARGV[3] - 1), redis.call('GETRANGE', KEYS[1], ARGV[4], -1), unpack(found)}
