-- Put items into a queue, each id once; a dead letter is taken in anew where it is told to.
-- KEYS: data, ready, delayed, flight, dead, done
-- ARGV: channel, 1 to revive dead letters, token of this call, then for each item: id, due ('@' and epoch ms, or ms from now), payload
-- Returns {1 if somebody should be told, {0 (known), 1 (taken), 2 (revived), 3 (dead) or 4 (settled) for each item}}.
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
-- The queue's own clock goes on where the server's is set back: nothing waits longer than it was told to.
local clock = redis.call('HMGET', KEYS[1], 'm:clock', 'm:ahead')
local ahead = tonumber(clock[2] or '0') + math.max(tonumber(clock[1] or '0') - wall, 0)
local now = wall + ahead
-- Before anything is removed: then a full server refuses it, and takes no payload on.
redis.call('HSET', KEYS[1], 'm:clock', wall, 'm:ahead', ahead)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', now, 'LIMIT', 0, 20)) do
  redis.call('ZREM', KEYS[6], id)
  redis.call('HDEL', KEYS[1], 'd:' .. id)
end
local was_empty = redis.call('LLEN', KEYS[2]) == 0
local added, ring, codes = 0, 0, {}
for i = 4, #ARGV, 3 do
  local id, word = ARGV[i], ARGV[i + 1]
  local at = string.sub(word, 1, 1) == '@' and tonumber(string.sub(word, 2))
  local done = redis.call('ZSCORE', KEYS[6], id)
  local known = redis.call('HGET', KEYS[1], 'v:' .. id)
  local code = 1
  if done and tonumber(done) > now then
    code = 4
  elseif known and redis.call('ZSCORE', KEYS[5], id) then
    code = ARGV[2] == '1' and 2 or 3
  elseif known then
    code = 0
    -- Asked again after a lost reply: answer what was answered then.
    local before, by = string.match(known, '^%d+%.(%d)(%x+):')
    local answer = by == ARGV[3] and tonumber(before) or 0
    codes[#codes + 1] = answer
    -- Never delivered: whoever pushed it may not have lived to tell.
    if redis.call('HEXISTS', KEYS[1], 'n:' .. id) == 0 then ring = 1 end
  end
  if code > 0 then codes[#codes + 1] = code end
  if code == 1 or code == 2 then
    if code == 1 then added = added + 1 end
    if code == 2 then redis.call('ZREM', KEYS[5], id) end
    redis.call('HDEL', KEYS[1], 'n:' .. id, 'r:' .. id, 'x:' .. id)
    redis.call('HSET', KEYS[1], 'v:' .. id, string.format('%.0f', wall) .. '.' .. code .. ARGV[3] .. ':' .. ARGV[i + 2])
    local due = at and at + ahead or now + tonumber(word)
    if due > now then
      if at then redis.call('HSET', KEYS[1], 'w:' .. id, string.format('%.0f', at)) end
      redis.call('ZADD', KEYS[3], due, id)
      if redis.call('ZRANK', KEYS[3], id) == 0 then ring = 1 end
    else
      redis.call('RPUSH', KEYS[2], id)
      if was_empty then ring = 1 end
    end
  end
end
if added > 0 then redis.call('HINCRBY', KEYS[1], 'm:pushed', added) end
-- An empty queue is forgotten after a day; what it counted, too.
local held = redis.call('LLEN', KEYS[2])
for i = 3, 5 do held = held + redis.call('ZCARD', KEYS[i]) end
for _, key in ipairs({KEYS[1], KEYS[6]}) do
  if held == 0 then redis.call('PEXPIRE', key, 86400000) else redis.call('PERSIST', key) end
end
if ring == 1 then redis.pcall('PUBLISH', ARGV[1], '1') end
return {ring, codes}
