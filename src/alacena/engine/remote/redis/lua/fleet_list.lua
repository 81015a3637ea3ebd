-- List the processes that were heard last.
-- KEYS: members   ARGV: how many at most, for how long a silent process is listed in ms
-- Returns the clock in ms, then the name and the instant of the last word of each, the latest first.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {now}
local names = redis.call('ZRANGE', KEYS[1], -ARGV[1], -1)
for at = #names, 1, -1 do
  local heard = tonumber(redis.call('ZSCORE', KEYS[1], names[at]))
  if heard > now - ARGV[2] then
    found[#found + 1] = names[at]
    found[#found + 1] = heard
  end
end
return found
