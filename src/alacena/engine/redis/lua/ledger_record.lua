-- Count a use of tokens once: receipt, totals and outbox in one step.
-- KEYS: receipt, ever, month, day, outbox   ARGV: fingerprint, receipt_ttl_ms, tokens, field, record ('': no outbox)
-- Returns {1 or 0 (counted before), 1 if somebody should be told of the outbox}.
local known = redis.call('GET', KEYS[1])
if known then
  if known ~= ARGV[1] then return redis.error_reply('IDEMCONFLICT the key was used with other figures') end
  -- Whoever recorded it may not have lived to tell that the outbox holds something.
  return {0, redis.call('ZCARD', KEYS[5]) > 0 and 1 or 0}
end
local tokens = tonumber(ARGV[3])
if tonumber(redis.call('HGET', KEYS[2], 't:' .. ARGV[4]) or '0') + tokens > 9007199254740991 then
  return redis.error_reply('OVERFLOW the total would leave the range of exact integers')
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
for i = 2, 4 do
  redis.call('HINCRBY', KEYS[i], 't:' .. ARGV[4], ARGV[3])
  redis.call('HINCRBY', KEYS[i], 'c:' .. ARGV[4], 1)
end
if ARGV[5] == '' then return {1, 0} end
local time = redis.call('TIME')
local first = redis.call('ZCARD', KEYS[5]) == 0
redis.call('ZADD', KEYS[5], string.format('%.0f', time[1] * 1000000 + time[2]), ARGV[5])
return {1, first and 1 or 0}
