-- End tags, and write them into the journal, for loads under way that will name their tags late. Twice is as good as once.
-- KEYS: journal, generations of tags ...  ARGV: a record for each, longest journal in bytes
-- Returns how many of the generations there were.
-- The tags go first: what a script adds after its first write is not refused by a server that is full.
local there = redis.call('UNLINK', unpack(KEYS, 2))
local length = redis.call('STRLEN', KEYS[1])
if length + #ARGV[1] > tonumber(ARGV[2]) then
  -- A load that remembers this journal is refused, as if any tag had ended.
  redis.call('UNLINK', KEYS[1])
elseif length > 0 then
  redis.call('APPEND', KEYS[1], ARGV[1])
end
return there
