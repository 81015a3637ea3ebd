-- Read the dead letters, oldest first.
-- KEYS: data, dead   ARGV: limit
-- Returns {id, died_ms, attempts, reason, record}...
local rows = {}
local found = redis.call('ZRANGE', KEYS[2], 0, tonumber(ARGV[1]) - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local id = found[i]
  local row = redis.call('HMGET', KEYS[1], 'n:' .. id, 'x:' .. id, 'v:' .. id)
  rows[#rows + 1] = {id, tonumber(found[i + 1]), tonumber(row[1] or '0'), row[2] or '', row[3]}
end
return rows
