-- Note what a reading of the source rests on, before it begins.
-- KEYS: journal, generations ...
-- ARGV: nonce for generations that are missing, how many of them live for ever, life of the others in ms,
--       name of the journal if there is none
-- Returns the journal's name, its length, the time in ms since the epoch, and the nonces.
local length = redis.call('STRLEN', KEYS[1])
if length == 0 then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
  length = #ARGV[4]
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {redis.call('GETRANGE', KEYS[1], 0, #ARGV[4] - 1), length, now}
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    if i - 1 > tonumber(ARGV[2]) then
      redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[3])
    else
      redis.call('SET', KEYS[i], ARGV[1])
    end
  end
  found[i + 2] = redis.call('GET', KEYS[i])
end
return found
