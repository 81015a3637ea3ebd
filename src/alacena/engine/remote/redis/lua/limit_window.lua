-- A sliding window in buckets that overlaps it: never more than the limit within any window, now and then a bucket less.
-- KEYS: counts   ARGV: limit, window_ms, cost, buckets
-- Returns {1 or 0, what remains, milliseconds until it is worth asking again (-1: never)}.
local limit, window, cost, buckets = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local width = math.ceil(window / buckets)
local current = math.floor(now / width)
local used, counted = 0, {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local bucket, count = tonumber(flat[i]), tonumber(flat[i + 1])
  if bucket < current - buckets then
    redis.call('HDEL', KEYS[1], flat[i])
  else
    if bucket > current then
      -- The server's clock was set back: what was counted ahead of it counts as of now, for one window and no longer.
      redis.call('HDEL', KEYS[1], flat[i])
      redis.call('HINCRBY', KEYS[1], string.format('%.0f', current), flat[i + 1])
      redis.call('PEXPIRE', KEYS[1], window + 2 * width)
      bucket = current
    end
    used = used + count
    counted[#counted + 1] = {bucket, count}
  end
end
if used + cost <= limit then
  redis.call('HINCRBY', KEYS[1], string.format('%.0f', current), ARGV[3])
  redis.call('PEXPIRE', KEYS[1], window + 2 * width)
  return {1, limit - used - cost, 0}
end
if cost > limit then return {0, limit - used, -1} end
table.sort(counted, function(a, b) return a[1] < b[1] end)
local freed, wait = 0, 0
for _, pair in ipairs(counted) do
  freed = freed + pair[2]
  wait = (pair[1] + buckets + 1) * width - now
  if used - freed + cost <= limit then break end
end
return {0, limit - used, wait}
