-- Read dead letters, oldest first.
-- KEYS: data, ready, delayed, flight, dead, done   ARGV: how many to pass over, how many to read, most bytes of payloads (one always fits)
-- Returns {id, died_ms, attempts, reason, record}...
local rows, room = {}, tonumber(ARGV[3])
local first = tonumber(ARGV[1])
local found = redis.call('ZRANGE', KEYS[5], first, first + tonumber(ARGV[2]) - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local id = found[i]
  local row = redis.call('HMGET', KEYS[1], 'n:' .. id, 'x:' .. id, 'v:' .. id)
  room = room - #row[3]
  if i > 1 and room < 0 then break end
  rows[#rows + 1] = {id, tonumber(found[i + 1]), tonumber(row[1] or '0'), row[2] or '', row[3]}
end
return rows
