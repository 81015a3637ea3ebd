-- Store an entry if everything it rests on still stands.
-- KEYS: entry, lease, hold, tenant generation, type generation, further generations ...
-- ARGV: lease token ('' for a value that the caller vouches for), life in ms (0: for ever), entry,
--       least life of further generations in ms, latest time in ms since the epoch (0: any),
--       then the expected nonce of each generation
-- Returns 'ok', or why not: 'late', or what is missing: 'lease', 'hold' or 'generation'.
local function refuse(reason)
  if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('DEL', KEYS[2])
  end
  return reason
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Who sent this has given it up by then, and what has happened since must not be undone.
local latest = tonumber(ARGV[5])
if latest > 0 and now > latest then
  return refuse('late')
end
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 'lease'
end
if redis.call('ZCOUNT', KEYS[3], '(' .. now, '+inf') > 0 then
  return refuse('hold')
end
-- All generations are read by one command: Redis 7.0 notes every key of the script at each that reads.
local nonces = redis.call('MGET', unpack(KEYS, 4))
for i = 4, #KEYS do
  if nonces[i - 3] ~= ARGV[i + 2] then
    return refuse('generation')
  end
end

local life = tonumber(ARGV[2])
for i = 6, #KEYS do
  if life == 0 then
    redis.call('PERSIST', KEYS[i])
  elseif redis.call('PEXPIRE', KEYS[i], ARGV[2], 'GT') == 1 and tonumber(ARGV[4]) > life then
    redis.call('PEXPIRE', KEYS[i], ARGV[4])
  end
end
-- The entry is read before it is written, so that our own write comes back as exactly one push, and again after it, so
-- that the next writer's does.
redis.call('STRLEN', KEYS[1])
if life == 0 then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', life)
end
redis.call('DEL', KEYS[2])
redis.call('STRLEN', KEYS[1])
redis.call('MGET', unpack(KEYS, 4))
return 'ok'
