-- Ask for the permission to fill an entry, and read all that the fill will rest on, in one step.
-- KEYS: entry, lease, hold, journal, tenant generation, type generation, further generations ...
-- ARGV: token, lease in ms, nonce for generations that are missing, life of further generations in ms,
--       name of the journal where there is none
-- Returns the values of all keys; for the lease, how long it lasts in ms too; for the hold, whether there is one; for the
-- journal, its name and its length. The lease was given if its value is the token.
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
-- A token ends with the history that it was asked for under. After a promotion, or when a slot has moved, nobody can
-- redeem what was given before: who waited for that lease to end would wait for nothing.
local held = redis.call('GET', KEYS[2])
local history = string.sub(ARGV[1], 17)
if not held or (history ~= '' and string.sub(held, 17) ~= history) then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
-- Every key is read before it is written, so that our own write comes back as exactly one push, and again after it, so
-- that the next writer's does.
local found = redis.call('MGET', unpack(KEYS))
found[2] = {found[2], redis.call('PTTL', KEYS[2])}
found[3] = redis.call('EXISTS', KEYS[3])
table.insert(found, 4, {redis.call('GETRANGE', journal, 0, #ARGV[5] - 1), length})
return found
