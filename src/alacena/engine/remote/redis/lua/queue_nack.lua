-- Give an item back: to be tried again, at once or later, or dead after its last attempt. Twice answers alike.
-- KEYS: data, ready, delayed, flight, dead, done
-- ARGV: channel, id, slot, delay_ms, reason, max_attempts (0: dead now), 1 to not count the attempt
-- Returns 0 (not the owner), 1 (ready), 2 (delayed) or 3 (dead).
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The queue's own clock goes on where the server's is set back: nothing waits longer than it was told to.
local clock = redis.call('HMGET', KEYS[1], 'm:clock', 'm:ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
-- A full server refuses nothing after a first removal, even of nothing: what takes items out must work there.
redis.call('HDEL', KEYS[1], '')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'm:clock', wall, 'm:ahead', ahead) end
local id, slot = ARGV[2], ARGV[3]
local given_back = redis.call('HGET', KEYS[1], 'r:' .. id)
if given_back and string.sub(given_back, 2) == slot then return tonumber(string.sub(given_back, 1, 1)) end
local expiry = redis.call('ZSCORE', KEYS[4], id)
if redis.call('HGET', KEYS[1], 'o:' .. id) ~= slot or not expiry or tonumber(expiry) <= now then return 0 end
redis.call('ZREM', KEYS[4], id)
redis.call('HDEL', KEYS[1], 'k:' .. slot, 'o:' .. id)
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'x:' .. id, ARGV[5]) end
local attempts = redis.call('HINCRBY', KEYS[1], 'n:' .. id, ARGV[7] == '1' and -1 or 0)
local state = 1
if attempts >= tonumber(ARGV[6]) then
  state = 3
  redis.call('ZADD', KEYS[5], wall, id)
elseif tonumber(ARGV[4]) > 0 then
  state = 2
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), id)
else
  redis.call('RPUSH', KEYS[2], id)
end
redis.call('HSET', KEYS[1], 'r:' .. id, state .. slot)
if state < 3 then redis.pcall('PUBLISH', ARGV[1], '1') end
return state
