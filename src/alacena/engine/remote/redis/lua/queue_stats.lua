-- Count a queue's items by state, all at one instant.
-- KEYS: data, ready, delayed, flight, dead, done
-- Returns {pushed, ready, delayed, in flight, dead, acked, discarded, now_ms, minute, this, before, record of the first ready}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function count(field) return tonumber(redis.call('HGET', KEYS[1], 'm:' .. field) or '0') end
local first = redis.call('LINDEX', KEYS[2], 0)
return {
  count('pushed'), redis.call('LLEN', KEYS[2]), redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[4]),
  redis.call('ZCARD', KEYS[5]), count('acked'), count('discarded'),
  now, count('minute'), count('this'), count('before'),
  first and string.match(redis.call('HGET', KEYS[1], 'v:' .. first), '^(%d+)') or ''
}
