-- Put items into a queue, each id once.
-- KEYS: data, ready, delayed, done   ARGV: channel, then for each item: id, due ('@' and epoch ms, or ms from now), payload
-- Returns {how many are new, 1 if somebody should be told}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 20)) do
  redis.call('ZREM', KEYS[4], id)
  redis.call('HDEL', KEYS[1], 'd:' .. id)
end
local was_empty = redis.call('LLEN', KEYS[2]) == 0
local added, ring = 0, 0
for i = 2, #ARGV, 3 do
  local id, word = ARGV[i], ARGV[i + 1]
  local due = string.sub(word, 1, 1) == '@' and tonumber(string.sub(word, 2)) or now + tonumber(word)
  local done = redis.call('ZSCORE', KEYS[4], id)
  local known = done and tonumber(done) > now
  if not known and redis.call('HSETNX', KEYS[1], 'v:' .. id, string.format('%.0f', now) .. ':' .. ARGV[i + 2]) == 1 then
    added = added + 1
    if due > now then
      redis.call('ZADD', KEYS[3], due, id)
      if redis.call('ZRANK', KEYS[3], id) == 0 then ring = 1 end
    else
      redis.call('RPUSH', KEYS[2], id)
      if was_empty then ring = 1 end
    end
  elseif not known and redis.call('HEXISTS', KEYS[1], 'n:' .. id) == 0 then
    ring = 1  -- Pushed before and never delivered: whoever pushed it may not have lived to tell.
  end
end
if added > 0 then redis.call('HINCRBY', KEYS[1], 'm:pushed', added) end
if ring == 1 then redis.pcall('PUBLISH', ARGV[1], '1') end
return {added, ring}
