-- Ask for the permission to fill entries of one bucket, and read all that the fills will rest on, in one step.
-- KEYS: journal; for each entry: entry, lease, hold; then the generations that any of them rests on, those of tenants and
--       types first
-- ARGV: how many entries, token, lease in ms, nonce for generations that are missing, how many of them are a tenant's or a
--       type's, life of the others in ms, name of the journal where there is none; then for each entry: how many
--       generations it rests on, how many of these are its own (the rest are tags'), and which they are, each by its place
-- Returns the journal's name and its length, the nonces of the generations, and for each entry: its value, its lease, how
-- long that lasts in ms, and how many holds there are. A lease was given if its value begins with the token.
local count, token = tonumber(ARGV[1]), ARGV[2]
local behind = 1 + 3 * count
local journal = KEYS[1]
local length = redis.call('STRLEN', journal)
if length == 0 then
  redis.call('SET', journal, ARGV[7], 'PX', ARGV[6])
  length = #ARGV[7]
end

local entries, leases, holds = {}, {}, {}
for i = 1, count do
  entries[i], leases[i], holds[i] = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
end
-- All of a kind are read by one command: Redis 7.0 notes every key of the script at each that reads. Every key is read
-- before it is written, so that our own write comes back as exactly one push, and again after it, so that the next writer's
-- does.
redis.call('EXISTS', unpack(KEYS, 2, behind))
local nonces = redis.call('MGET', unpack(KEYS, behind + 1))
for place = 1, #nonces do
  if not nonces[place] then
    nonces[place] = ARGV[4]
    if place > tonumber(ARGV[5]) then
      redis.call('SET', KEYS[behind + place], ARGV[4], 'PX', ARGV[6])
    else
      redis.call('SET', KEYS[behind + place], ARGV[4])
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
local there = redis.call('MGET', unpack(leases))
local at = 8
for i = 1, count do
  local first, own = at + 2, at + 1 + ARGV[at + 1]
  at = first + ARGV[at]
  local stamp = digest(first, own)
  local tags, tag_nonces = digest(own + 1, at - 1, true), digest(own + 1, at - 1)
  local held = there[i]
  if not held
    or (history ~= '' and string.sub(held, 17, -49) ~= history)
    or string.sub(held, -48, -33) ~= stamp
    or (string.sub(held, -32, -17) == tags and string.sub(held, -16) ~= tag_nonces)
  then
    redis.call('SET', leases[i], token .. stamp .. tags .. tag_nonces, 'PX', ARGV[3])
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local values, held = redis.call('MGET', unpack(entries)), redis.call('MGET', unpack(leases))
local under_hold = redis.call('EXISTS', unpack(holds)) > 0
local found = {}
for i = 1, count do
  local left = tonumber(ARGV[3])
  if string.sub(held[i], 1, #token) ~= token then
    left = redis.call('PTTL', leases[i])
  end
  found[i] = {values[i], held[i], left, under_hold and redis.call('ZCOUNT', holds[i], '(' .. now, '+inf') or 0}
end
nonces = redis.call('MGET', unpack(KEYS, behind + 1))
return {redis.call('GETRANGE', journal, 0, #ARGV[7] - 1), length, nonces, found}
