-- Lengthen leases, each only for the slot that holds it unexpired.
-- KEYS: data, flight   ARGV: visibility_ms, then id, slot...
-- Returns 1 or 0 for each item.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i = 2, #ARGV, 2 do
  local id, slot = ARGV[i], ARGV[i + 1]
  local expiry = redis.call('ZSCORE', KEYS[2], id)
  local owns = expiry and tonumber(expiry) > now and redis.call('HGET', KEYS[1], 'o:' .. id) == slot
  if owns then redis.call('ZADD', KEYS[2], now + tonumber(ARGV[1]), id) end
  answers[#answers + 1] = owns and 1 or 0
end
return answers
