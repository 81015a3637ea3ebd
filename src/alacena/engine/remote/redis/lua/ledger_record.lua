-- Count a use of tokens once: receipt, totals and outbox in one step.
-- KEYS: receipt, ever, month, day, outbox
-- ARGV: fingerprint, receipt_ttl_ms, tokens, field, record ('': no outbox), figures, then a field and an amount for each part
-- Returns {1 or 0 (counted before), 1 if somebody should be told of the outbox}, or {-1, the receipt}: other figures.
local known = redis.call('GET', KEYS[1])
if known then
  if string.sub(known, 1, #ARGV[1]) ~= ARGV[1] then return {-1, known} end
  -- Whoever recorded it may not have lived to tell that the outbox holds something.
  return {0, redis.call('ZCARD', KEYS[5]) > 0 and 1 or 0}
end
local added = {{'t:' .. ARGV[4], ARGV[3]}, {'c:' .. ARGV[4], 1}}
for i = 7, #ARGV, 2 do added[#added + 1] = {'p:' .. ARGV[i], ARGV[i + 1]} end
for _, one in ipairs(added) do
  if tonumber(redis.call('HGET', KEYS[2], one[1]) or '0') + tonumber(one[2]) > 9007199254740991 then
    return redis.error_reply('OVERFLOW the total would leave the range of exact integers')
  end
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[6], 'PX', ARGV[2])
for i = 2, 4 do
  for _, one in ipairs(added) do redis.call('HINCRBY', KEYS[i], one[1], one[2]) end
end
if ARGV[5] == '' then return {1, 0} end
local time = redis.call('TIME')
local first = redis.call('ZCARD', KEYS[5]) == 0
redis.call('ZADD', KEYS[5], string.format('%.0f', time[1] * 1000000 + time[2]), ARGV[5])
return {1, first and 1 or 0}
