-- Store entries of one slot, each if everything that it rests on still stands.
-- KEYS: for each entry: entry, lease, hold; then the generations that any of them rests on; then for each reading that
--       brought some of them: its journal; then, if the value of the one entry was sent in pieces, the key under which they lie
-- ARGV: how many entries, least life of further generations in ms, latest time in ms since the epoch (0: any), how many
--       readings, the length of the value that was sent in pieces (0: none was), the expected nonce of each generation, then
--       for each entry: lease token ('' for a value that the caller vouches for), life in ms (0: for ever), entry, how many
--       generations it rests on (0: the same as the entry before), and which: the tenant's and the type's first, each by its
--       place among the generations; then, if there are readings, for each of them: the journal's name when it began, from
--       which byte on it is read, and when it began; and for each entry: the place of its reading (0: none), and the
--       records, of 8 bytes, that the journal must not have since then
-- Returns for each 'ok', or why not: 'late', or what is missing: 'lease', 'hold' or 'generation'.
local KEYS, ARGV, call = KEYS, ARGV, redis.call  -- Globals are slow to look at, and this is done some thousand times.
local count = tonumber(ARGV[1])
local length = tonumber(ARGV[5])
local parts = length > 0 and KEYS[#KEYS]
local behind, beyond = 3 * count, parts and #KEYS - 1 or #KEYS
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Who sent this has given it up by then, and what has happened since must not be undone.
local latest = tonumber(ARGV[3])
local readings = tonumber(ARGV[4])
local late = latest > 0 and now > latest
-- A value that is not whole any more came too late as well: its pieces have expired, or are on another server.
late = late or (parts and call('STRLEN', parts) ~= length)

-- Of each entry where its words begin: token, life, value, how many generations, and which; where it is said how many these
-- are; and where its lease is among those that are asked for.
local words, grounds, places, leases, holds = {}, {}, {}, {}, {}
local at = 6 + beyond - behind - readings
for i = 1, count do
  words[i] = at
  holds[i] = KEYS[3 * i]
  if ARGV[at] ~= '' then
    leases[#leases + 1] = KEYS[3 * i - 1]
    places[i] = #leases
  end
  grounds[i] = ARGV[at + 3] == '0' and grounds[i - 1] or at + 3
  at = at + 4 + ARGV[at + 3]
end

-- All of a kind are read by one command: Redis 7.0 notes every key of the script at each that reads.
local held = #leases > 0 and call('MGET', unpack(leases)) or {}
local under_hold = call('EXISTS', unpack(holds)) > 0
local stands, all_stand = call('MGET', unpack(KEYS, behind + 1, beyond - readings)), true
for place = 1, #stands do
  stands[place] = stands[place] == ARGV[5 + place]
  all_stand = all_stand and stands[place]
end
-- For each reading what has ended since it began; a journal of another name was begun anew, and any may have.
local ended, since, records = {}, {}, {}
for i = 1, readings do
  local journal = KEYS[beyond - readings + i]
  local is_same = call('GETRANGE', journal, 0, #ARGV[at] - 1) == ARGV[at]
  local noted = is_same and call('GETRANGE', journal, ARGV[at + 1], -1) or ''
  ended[i] = {is_all = not is_same, began = math.min(now, ARGV[at + 2])}
  for first = 1, #noted, 8 do
    ended[i][string.sub(noted, first, first + 7)] = true
  end
  at = at + 3
end
if readings > 0 then
  for i = 1, count do
    since[i], records[i] = ended[tonumber(ARGV[at])], ARGV[at + 1]
    at = at + 2
  end
end
local function is_overtaken(i)
  if since[i].is_all then
    return true
  end
  for first = 1, #records[i], 8 do
    if since[i][string.sub(records[i], first, first + 7)] then
      return true
    end
  end
end
-- A hold that came to its end by itself was a process's that died, perhaps after its commit: what was read before that end
-- may be older.
local function is_held(i)
  return call('ZCOUNT', holds[i], '(' .. (since[i] and since[i].began or now), '+inf') > 0
end
local function rests_on_ended(ground)
  for place = ground + 1, ground + ARGV[ground] do
    if not stands[tonumber(ARGV[place])] then
      return true
    end
  end
end

local fates, entries, taken = {}, {}, {}
for i = 1, count do
  local first, place = words[i], places[i]
  local fate = 'ok'
  if late then
    fate = 'late'
  elseif place and held[place] ~= ARGV[first] then
    fate = 'lease'
  elseif under_hold and is_held(i) then
    fate = 'hold'
  elseif (since[i] and is_overtaken(i)) or (not all_stand and rests_on_ended(grounds[i])) then
    fate = 'generation'
  end
  fates[i] = fate
  if fate == 'ok' then
    entries[#entries + 1] = KEYS[3 * i - 2]
    taken[#taken + 1] = KEYS[3 * i - 1]
  elseif place and held[place] == ARGV[first] then
    call('DEL', KEYS[3 * i - 1])
  end
end
if #entries == 0 then
  if parts then
    call('DEL', parts)
  end
  return fates
end

-- Entries are read before they are written, so that our own writes come back as exactly one push each, and again after it,
-- so that the next writer's do.
call('EXISTS', unpack(entries))
for i = 1, count do
  if fates[i] == 'ok' then
    local first = words[i]
    local life = ARGV[first + 1]
    for place = grounds[i] + 3, grounds[i] + ARGV[grounds[i]] do
      local name = KEYS[behind + ARGV[place]]
      if life == '0' then
        call('PERSIST', name)
      elseif call('PEXPIRE', name, life, 'GT') == 1 and tonumber(ARGV[2]) > tonumber(life) then
        call('PEXPIRE', name, ARGV[2])
      end
    end
    if parts then  -- A value of megabytes would hold the server up on its way through this script.
      call('COPY', parts, KEYS[1], 'REPLACE')
      call('DEL', parts)
      if life == '0' then
        call('PERSIST', KEYS[1])
      else
        call('PEXPIRE', KEYS[1], life)
      end
    elseif life == '0' then
      call('SET', KEYS[3 * i - 2], ARGV[first + 2])
    else
      call('SET', KEYS[3 * i - 2], ARGV[first + 2], 'PX', life)
    end
  end
end
call('DEL', unpack(taken))
call('EXISTS', unpack(entries))
call('MGET', unpack(KEYS, behind + 1, beyond - readings))
return fates
