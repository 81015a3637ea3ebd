-- Add to a counter, give it its expiry in the same step, and remember the answer under a receipt where one is named.
-- KEYS: counter [receipt]   ARGV: amount, ttl_ms (0: none), receipt_ttl_ms
-- Returns the new value.
if KEYS[2] then
  local known = redis.call('GET', KEYS[2])
  if known then
    local amount, value = string.match(known, '^(-?%d+):(-?%d+)$')
    if amount ~= ARGV[1] then return redis.error_reply('IDEMCONFLICT the id was used with amount ' .. amount) end
    return tonumber(value)
  end
end
local current = tonumber(redis.call('GET', KEYS[1]) or '0')
if current and math.abs(current + tonumber(ARGV[1])) > 9007199254740991 then
  return redis.error_reply('OVERFLOW the counter would leave the range of exact integers')
end
local value = redis.call('INCRBY', KEYS[1], ARGV[1])
if ARGV[2] ~= '0' then
  -- Longer than it was given can only be a clock that was set back.
  local left = redis.call('PTTL', KEYS[1])
  if left == -1 or left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
end
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[1] .. ':' .. string.format('%.0f', value), 'PX', ARGV[3])
end
return value
