-- Take the next items under a lease. The same token gets the same items for as long as it holds any.
-- What is due becomes ready first; what a lease left behind is ready again, or dead after its last attempt.
-- KEYS: data, ready, delayed, flight, dead, done   ARGV: token, max_items, visibility_ms, max_attempts, most bytes of payloads (one item always fits)
-- Returns {{id, slot, attempt, record}..., milliseconds until something is due (-1: nothing)}.
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The queue's own clock goes on where the server's is set back: nothing waits longer than it was told to.
local clock = redis.call('HMGET', KEYS[1], 'm:clock', 'm:ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
-- A full server refuses nothing after a first removal, even of nothing: what takes items out must work there.
redis.call('HDEL', KEYS[1], '')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'm:clock', wall, 'm:ahead', ahead) end
local token, wanted, limit, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local function get(field) return redis.call('HGET', KEYS[1], field) end
local items = {}
for i = 1, wanted do
  local slot = token .. ':' .. i
  local id = get('k:' .. slot)
  if id then items[#items + 1] = {id, slot, tonumber(get('n:' .. id)), get('v:' .. id)} end
end
if #items > 0 then return {items, 0} end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 100)) do
  local at = tonumber(get('w:' .. id) or '0')
  if at > wall then
    redis.call('ZADD', KEYS[3], at + ahead, id)  -- A time of day is waited for on the wall's clock, which was set back.
  else
    redis.call('HDEL', KEYS[1], 'w:' .. id)
    redis.call('ZREM', KEYS[3], id)
    redis.call('RPUSH', KEYS[2], id)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[4], id)
  redis.call('HDEL', KEYS[1], 'k:' .. get('o:' .. id), 'o:' .. id)
  if tonumber(get('n:' .. id)) >= limit then
    -- What an earlier attempt said is not why this one failed: its process may have been killed.
    local before = get('x:' .. id)
    local reason = 'the lease ran out on the last attempt'
    redis.call('HSET', KEYS[1], 'x:' .. id, before and reason .. '; an earlier one: ' .. before or reason)
    redis.call('ZADD', KEYS[5], wall, id)
  else
    redis.call('RPUSH', KEYS[2], id)
  end
end
for i = 1, wanted do
  local id = redis.call('LINDEX', KEYS[2], 0)
  if not id then break end
  local record = get('v:' .. id)
  room = room - #record
  if i > 1 and room < 0 then break end
  redis.call('LPOP', KEYS[2])
  local slot = token .. ':' .. i
  local attempt = redis.call('HINCRBY', KEYS[1], 'n:' .. id, 1)
  redis.call('HSET', KEYS[1], 'o:' .. id, slot, 'k:' .. slot, id)
  redis.call('ZADD', KEYS[4], now + tonumber(ARGV[3]), id)
  items[i] = {id, slot, attempt, record}
end
if #items > 0 then
  redis.call('PERSIST', KEYS[1])  -- A process of an older version may have pushed into a queue that was to be forgotten.
  return {items, 0}
end
local soonest = -1
for _, key in ipairs({KEYS[3], KEYS[4]}) do
  local due = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
  if due then
    local left = math.max(tonumber(due) - now, 0)
    if soonest < 0 or left < soonest then soonest = left end
  end
end
return {items, soonest}
