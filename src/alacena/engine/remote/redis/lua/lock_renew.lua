-- Lengthen a lock's lease for its owner alone.
-- KEYS: lock, state   ARGV: token, ttl_ms
-- Returns 1, or 0 where the token does not hold the lock.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fence = redis.call('HGET', KEYS[2], 'f')
if fence then
  -- A full server refuses nothing after a first removal, even of nothing: a holder must not lose the lock by that.
  redis.call('HDEL', KEYS[2], '')
  redis.call('HSET', KEYS[2], 't', ARGV[2] .. ':' .. ARGV[1])
  redis.call('PEXPIRE', KEYS[2], math.max(math.ceil(tonumber(fence) / 1000) - now, 0) + tonumber(ARGV[2]) + 86400000)
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
