-- Ask for the permission to fill an entry, and read all that the fill will rest on, in one step.
-- KEYS: entry, lease, hold, journal, tenant generation, type generation, further generations ...
-- ARGV: token, lease in ms, nonce for generations that are missing, life of further generations in ms,
--       name of the journal where there is none, how many of the generations are the entry's own: the rest are tags'
-- Returns the values of all keys; for the lease, how long it lasts in ms too; for the hold, whether there is one; for the
-- journal, its name and its length. The lease was given if its value begins with the token.
local journal = table.remove(KEYS, 4)
local length = redis.call('STRLEN', journal)
if length == 0 then
  redis.call('SET', journal, ARGV[5], 'PX', ARGV[4])
  length = #ARGV[5]
end
-- All are read by one command: Redis 7.0 notes every key of the script at each that reads.
local there = redis.call('MGET', unpack(KEYS))
for i = 4, #KEYS do
  if not there[i] then
    if i > 5 then
      redis.call('SET', KEYS[i], ARGV[3], 'PX', ARGV[4])
    else
      redis.call('SET', KEYS[i], ARGV[3])
    end
  end
end
-- Behind the token, a lease says what it rests on: digests of the nonces of the entry's own generations, of the names of
-- the tags, and of their nonces, 16 letters each.
local last = 3 + ARGV[6]
local function digest(from, to, names)
  local parts = {}
  for i = from, to do
    parts[#parts + 1] = names and KEYS[i] or there[i] or ARGV[3]
  end
  return string.sub(redis.sha1hex(table.concat(parts, '\0')), 1, 16)
end
local own, tags = digest(4, last), digest(last + 1, #KEYS, true)
local nonces = digest(last + 1, #KEYS)
-- Nobody can redeem a lease that was asked for under another history, as after a promotion or a slot's move, or one of
-- whose generations has ended since: who waited for its end would wait for nothing. Of the tags that is known to those who
-- name the same ones.
local held = redis.call('GET', KEYS[2])
local history = string.sub(ARGV[1], 17)
if not held
  or (history ~= '' and string.sub(held, 17, -49) ~= history)
  or string.sub(held, -48, -33) ~= own
  or (string.sub(held, -32, -17) == tags and string.sub(held, -16) ~= nonces)
then
  redis.call('SET', KEYS[2], ARGV[1] .. own .. tags .. nonces, 'PX', ARGV[2])
end
-- Every key is read before it is written, so that our own write comes back as exactly one push, and again after it, so
-- that the next writer's does.
local found = redis.call('MGET', unpack(KEYS))
found[2] = {found[2], redis.call('PTTL', KEYS[2])}
local time = redis.call('TIME')
found[3] = redis.call('ZCOUNT', KEYS[3], '(' .. time[1] * 1000 + math.floor(time[2] / 1000), '+inf')
table.insert(found, 4, {redis.call('GETRANGE', journal, 0, #ARGV[5] - 1), length})
return found
