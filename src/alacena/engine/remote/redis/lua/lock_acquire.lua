-- Take a lock, or stand in line for it. Asking again with the same token answers alike.
-- KEYS: lock, state (f: fence, h: history it was given in, r: token released last, t: ttl of the lease and its token), line (token by place), alive (token by deadline)
-- ARGV: token, ttl_ms, waiter_ms (0: do not stand in line), head_ms, channel prefix
-- Returns {1, fence} or {0, milliseconds the lock has left (-2: none holds it), place in line (-1: not in it)}.
local token = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local passed = 0
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  if gone ~= token then
    passed = passed + redis.call('ZREM', KEYS[3], gone)
    redis.call('ZREM', KEYS[4], gone)
  end
end
-- Whoever is first is told so: it watches this lock's expiry from now on, and must show soon that it lives.
-- Whoever does not listen has died or lost its connection, and is passed over. Where we may not
-- publish (pcall), that cannot be told: it looks by itself after a while.
local function ring_first()
  local head = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  while head and head ~= token and redis.pcall('PUBLISH', ARGV[5] .. head, '1') == 0 do
    redis.call('ZREM', KEYS[3], head)
    redis.call('ZREM', KEYS[4], head)
    head = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  end
  if head and head ~= token then
    local deadline = now + tonumber(ARGV[4])
    if tonumber(redis.call('ZSCORE', KEYS[4], head)) > deadline then redis.call('ZADD', KEYS[4], deadline, head) end
  end
  return head
end
local owner = redis.call('GET', KEYS[1])
-- The state outlives the clock's way to its fence by a day: when it is forgotten, a fence from the clock overtakes it.
local function keep_state(fence)
  redis.call('PEXPIRE', KEYS[2], math.max(math.ceil(fence / 1000) - now, 0) + tonumber(ARGV[2]) + 86400000)
end
if owner == token then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  local fence = tonumber(redis.call('HGET', KEYS[2], 'f') or string.format('%.0f', time[1] * 1000000 + time[2]))
  redis.call('HSET', KEYS[2], 'f', string.format('%.0f', fence), 't', ARGV[2] .. ':' .. token)
  keep_state(fence)
  return {1, fence}
end
-- A lease longer than this owner was given is that of a clock which was set back.
local most, by = string.match(owner and redis.call('HGET', KEYS[2], 't') or '', '^(%d+):(.*)$')
if most and by == owner and redis.call('PTTL', KEYS[1]) > tonumber(most) then redis.call('PEXPIRE', KEYS[1], most) end
local head = (not owner or passed > 0) and ring_first()
if not owner and (not head or head == token) then
  -- A clock under the count: a fence that a flush took back is still overtaken. In another history (a failover, a
  -- restart) fences may be lost that another clock gave: a day more than either overtakes them all.
  local fence = math.max((tonumber(redis.call('HGET', KEYS[2], 'f') or '0')) + 1, time[1] * 1000000 + time[2])
  local info = redis.pcall('INFO', 'replication')
  local history = type(info) == 'string' and string.match(info, 'master_replid:(%x+)')
  if history and redis.call('HGET', KEYS[2], 'h') ~= history then
    redis.call('HSET', KEYS[2], 'h', history)
    fence = fence + 86400000000
  end
  redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
  redis.call('HSET', KEYS[2], 'f', string.format('%.0f', fence), 't', ARGV[2] .. ':' .. token)
  keep_state(fence)
  redis.call('ZREM', KEYS[3], token)
  redis.call('ZREM', KEYS[4], token)
  ring_first()
  return {1, fence}
end
if ARGV[3] == '0' then return {0, redis.call('PTTL', KEYS[1]), -1} end
if not redis.call('ZSCORE', KEYS[3], token) then
  local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
  local place = math.max(time[1] * 1000000 + time[2], last and tonumber(last) + 1 or 0)
  redis.call('ZADD', KEYS[3], string.format('%.0f', place), token)
end
local rank = redis.call('ZRANK', KEYS[3], token)
redis.call('ZADD', KEYS[4], now + tonumber(rank == 0 and ARGV[4] or ARGV[3]), token)
-- Who lives asks again long before that; a line of the dead is forgotten.
for i = 3, 4 do redis.call('PEXPIRE', KEYS[i], tonumber(ARGV[3]) + 60000) end
return {0, redis.call('PTTL', KEYS[1]), rank}
