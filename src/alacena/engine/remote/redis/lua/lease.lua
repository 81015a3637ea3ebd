-- Ask for the permission to fill entries of one bucket, and read all that the fills will rest on, in one step.
-- KEYS: journal; for each entry: entry, lease, hold; then the generations that any of them rests on, those of tenants and
--       types first
-- ARGV: how many entries, token, lease in ms, nonce for generations that are missing, how many of them are a tenant's or a
--       type's, life of the others in ms, name of the journal where there is none; then for each entry: how many
--       generations it rests on (0: the same as the entry before), and unless it is 0, how many of these are its own (the
--       rest are tags'), and which they are, each by its place
-- Returns the journal's name and its length, the nonces of the generations, and then by entry: the values, the leases, how
-- long these last in ms, and how many holds there are. A lease was given if its value begins with the token.
local KEYS, ARGV, call = KEYS, ARGV, redis.call  -- Globals are slow to look at, and this is done some thousand times.
local count, token, lease_ms = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local behind = 1 + 3 * count
local journal = KEYS[1]
local length = call('STRLEN', journal)
if length == 0 then
  call('SET', journal, ARGV[7], 'PX', ARGV[6])
  length = #ARGV[7]
end

local entries, leases, holds = {}, {}, {}
for i = 1, count do
  entries[i], leases[i], holds[i] = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
end
-- All of a kind are read by one command: Redis 7.0 notes every key of the script at each that reads. Every key is read
-- before it is written, so that our own write comes back as exactly one push, and again after it, so that the next writer's
-- does.
local nonces = call('MGET', unpack(KEYS, behind + 1))
for place = 1, #nonces do
  if not nonces[place] then
    nonces[place] = ARGV[4]
    if place > tonumber(ARGV[5]) then
      call('SET', KEYS[behind + place], ARGV[4], 'PX', ARGV[6])
    else
      call('SET', KEYS[behind + place], ARGV[4])
    end
  end
end

-- Behind the token, a lease says what it rests on: digests of the nonces of the entry's own generations, of the names of
-- the tags, and of their nonces, 16 letters each.
local function digest(first, last, names)
  local parts = {}
  for at = first, last do
    local place = tonumber(ARGV[at])
    parts[#parts + 1] = names and KEYS[behind + place] or nonces[place]
  end
  return string.sub(redis.sha1hex(table.concat(parts, '\0')), 1, 16)
end
-- Nobody can redeem a lease that was asked for under another history, as after a promotion or a slot's move, or one of
-- whose generations has ended since: who waited for its end would wait for nothing. Of the tags that is known to those who
-- name the same ones.
local history = string.sub(token, 17)
local held = call('MGET', unpack(leases))
local own, tags, tag_nonces, left = '', '', '', {}
local at = 8
for i = 1, count do
  if ARGV[at] == '0' then
    at = at + 1
  else
    local first, beyond = at + 2, at + 2 + ARGV[at]
    local first_tag = first + ARGV[at + 1]
    own = digest(first, first_tag - 1)
    tags, tag_nonces = digest(first_tag, beyond - 1, true), digest(first_tag, beyond - 1)
    at = beyond
  end
  local there = held[i]
  if not there
    or (history ~= '' and string.sub(there, 17, -49) ~= history)
    or string.sub(there, -48, -33) ~= own
    or (string.sub(there, -32, -17) == tags and string.sub(there, -16) ~= tag_nonces)
  then
    held[i], left[i] = token .. own .. tags .. tag_nonces, lease_ms
    call('SET', leases[i], held[i], 'PX', lease_ms)
  else
    left[i] = call('PTTL', leases[i])
  end
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local values = call('MGET', unpack(entries))
call('EXISTS', unpack(leases))
local under_hold, held_by = call('EXISTS', unpack(holds)) > 0, {}
for i = 1, count do
  held_by[i] = under_hold and call('ZCOUNT', holds[i], '(' .. now, '+inf') or 0
end
nonces = call('MGET', unpack(KEYS, behind + 1))
return {call('GETRANGE', journal, 0, #ARGV[7] - 1), length, nonces, values, held, left, held_by}
