-- Give a lock back, or leave the line for it; then wake the next in line.
-- KEYS: lock, state, line, alive   ARGV: token, head_ms, channel prefix
-- Returns 1 if the token held the lock (or was the last to release it), else 0.
local token = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = 0
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  left = left + redis.call('ZREM', KEYS[3], gone)
  redis.call('ZREM', KEYS[4], gone)
end
left = left + redis.call('ZREM', KEYS[3], token)
redis.call('ZREM', KEYS[4], token)
local held = 0
if redis.call('GET', KEYS[1]) == token then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'r', token)
  if redis.call('PTTL', KEYS[2]) == -1 then
    local fence = tonumber(redis.call('HGET', KEYS[2], 'f') or '0')
    redis.call('PEXPIRE', KEYS[2], math.max(math.ceil(fence / 1000) - now, 0) + 86400000)
  end
  held = 1
end
local head = held + left > 0 and redis.call('ZRANGE', KEYS[3], 0, 0)[1]
-- Whoever does not listen has died or lost its connection, and is passed over. Where we may not
-- publish (pcall), that cannot be told: it looks by itself after a while.
while head and redis.pcall('PUBLISH', ARGV[3] .. head, '1') == 0 do
  redis.call('ZREM', KEYS[3], head)
  redis.call('ZREM', KEYS[4], head)
  head = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
end
if head then
  local deadline = now + tonumber(ARGV[2])
  if tonumber(redis.call('ZSCORE', KEYS[4], head)) > deadline then redis.call('ZADD', KEYS[4], deadline, head) end
end
if held == 0 and redis.call('HGET', KEYS[2], 'r') == token then return 1 end
return held
