-- Lengthen a reservation that has not run out.
-- KEYS: data, open, done   ARGV: id, ttl_ms, milliseconds after which an unused budget is forgotten (0: never)
-- Returns 1, or 0 where it ran out or was settled.
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The budget's own clock goes on where the server's is set back: no reservation outlasts its time.
local clock = redis.call('HMGET', KEYS[1], 'clock', 'ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'clock', wall, 'ahead', ahead) end
local expiry = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not expiry or tonumber(expiry) <= now then return 0 end
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), ARGV[1])
for _, key in ipairs(KEYS) do
  if ARGV[3] == '0' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[3]) end
end
return 1
