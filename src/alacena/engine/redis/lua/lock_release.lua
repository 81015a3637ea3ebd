-- Give a lock back, or leave the line for it; then wake the next in line.
-- KEYS: lock, state, line, alive   ARGV: token, channel prefix
-- Returns 1 if the token held the lock (or was the last to release it), else 0.
local token = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[3], gone)
  redis.call('ZREM', KEYS[4], gone)
end
local left = redis.call('ZREM', KEYS[3], token)
redis.call('ZREM', KEYS[4], token)
local held = 0
if redis.call('GET', KEYS[1]) == token then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'r', token)
  held = 1
elseif redis.call('HGET', KEYS[2], 'r') == token then
  return 1
end
if held + left > 0 then
  local head = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  if head then redis.call('PUBLISH', ARGV[2] .. head, '1') end
end
return held
