-- Store entries of one slot, each if everything that it rests on still stands.
-- KEYS: for each entry: entry, lease, hold; then the generations that any of them rests on; then for each reading that
--       brought some of them: its journal
-- ARGV: how many entries, least life of further generations in ms, latest time in ms since the epoch (0: any), how many
--       readings, the expected nonce of each generation, then for each entry: lease token ('' for a value that the caller
--       vouches for), life in ms (0: for ever), entry, how many generations it rests on, and which: the tenant's and the
--       type's first, each by its place among the generations; then, if there are readings, for each of them: the
--       journal's name when it began, from which byte on it is read, and when it began; and for each entry: the place of its reading
--       (0: none), and the records, of 8 bytes, that the journal must not have since then
-- Returns for each 'ok', or why not: 'late', or what is missing: 'lease', 'hold' or 'generation'.
local count = tonumber(ARGV[1])
local behind = 3 * count
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Who sent this has given it up by then, and what has happened since must not be undone.
local latest = tonumber(ARGV[3])
local readings = tonumber(ARGV[4])
local late = latest > 0 and now > latest

local wanted, leases, holds = {}, {}, {}
local at = 5 + #KEYS - behind - readings
for i = 1, count do
  local last = at + 3 + ARGV[at + 3]
  wanted[i] = {token = ARGV[at], life = tonumber(ARGV[at + 1]), value = ARGV[at + 2], first = at + 4, last = last}
  if ARGV[at] ~= '' then
    leases[#leases + 1] = KEYS[3 * i - 1]
    wanted[i].place = #leases
  end
  holds[i] = KEYS[3 * i]
  at = last + 1
end

-- All of a kind are read by one command: Redis 7.0 notes every key of the script at each that reads.
local held = #leases > 0 and redis.call('MGET', unpack(leases)) or {}
local under_hold = redis.call('EXISTS', unpack(holds)) > 0
local nonces = redis.call('MGET', unpack(KEYS, behind + 1, #KEYS - readings))
-- For each reading what has ended since it began; a journal of another name was begun anew, and any may have.
local ended = {}
for i = 1, readings do
  local journal = KEYS[#KEYS - readings + i]
  local is_same = redis.call('GETRANGE', journal, 0, #ARGV[at] - 1) == ARGV[at]
  local since = is_same and redis.call('GETRANGE', journal, ARGV[at + 1], -1) or ''
  ended[i] = {is_all = not is_same, began = math.min(now, ARGV[at + 2])}
  for first = 1, #since, 8 do
    ended[i][string.sub(since, first, first + 7)] = true
  end
  at = at + 3
end
if readings > 0 then
  for i = 1, count do
    wanted[i].since, wanted[i].records = ended[tonumber(ARGV[at])], ARGV[at + 1]
    at = at + 2
  end
end
local function is_overtaken(one)
  if one.since.is_all then
    return true
  end
  for first = 1, #one.records, 8 do
    if one.since[string.sub(one.records, first, first + 7)] then
      return true
    end
  end
end
local function refusal(i, one)
  if late then
    return 'late'
  end
  if one.place and held[one.place] ~= one.token then
    return 'lease'
  end
  -- A hold that came to its end by itself was a process's that died, perhaps after its commit: what was read before that end
  -- may be older.
  local since = one.since and one.since.began or now
  if under_hold and redis.call('ZCOUNT', holds[i], '(' .. since, '+inf') > 0 then
    return 'hold'
  end
  if one.since and is_overtaken(one) then
    return 'generation'
  end
  for at = one.first, one.last do
    local place = tonumber(ARGV[at])
    if nonces[place] ~= ARGV[4 + place] then
      return 'generation'
    end
  end
end

local fates, entries = {}, {}
for i, one in ipairs(wanted) do
  fates[i] = refusal(i, one) or 'ok'
  if fates[i] == 'ok' then
    entries[#entries + 1] = KEYS[3 * i - 2]
  elseif one.place and held[one.place] == one.token then
    redis.call('DEL', KEYS[3 * i - 1])
  end
end
if #entries == 0 then
  return fates
end

-- Entries are read before they are written, so that our own writes come back as exactly one push each, and again after it,
-- so that the next writer's do.
redis.call('EXISTS', unpack(entries))
for i, one in ipairs(wanted) do
  if fates[i] == 'ok' then
    for at = one.first + 2, one.last do
      local name = KEYS[behind + ARGV[at]]
      if one.life == 0 then
        redis.call('PERSIST', name)
      elseif redis.call('PEXPIRE', name, one.life, 'GT') == 1 and tonumber(ARGV[2]) > one.life then
        redis.call('PEXPIRE', name, ARGV[2])
      end
    end
    if one.life == 0 then
      redis.call('SET', KEYS[3 * i - 2], one.value)
    else
      redis.call('SET', KEYS[3 * i - 2], one.value, 'PX', one.life)
    end
    redis.call('DEL', KEYS[3 * i - 1])
  end
end
redis.call('EXISTS', unpack(entries))
redis.call('MGET', unpack(KEYS, behind + 1, #KEYS - readings))
return fates
