-- Read generations, minting those that are missing.
-- KEYS: generations.  ARGV: nonce, life in ms of those that are minted (0: for ever)
-- All are read by one command: Redis 7.0 notes every key of the script at each that reads.
local there = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  if not there[i] then
    if ARGV[2] == '0' then
      redis.call('SET', KEYS[i], ARGV[1])
    else
      redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
    end
  end
end
return redis.call('MGET', unpack(KEYS))
