-- End generations, and write them into the journal, for loads under way that will learn late what they depend on. Twice
-- is as good as once.
-- KEYS: journal, generation of what depends on too much to name, generations ...; of an entry that is deleted: journal,
--       lease, entry
-- ARGV: a record for each, longest journal in bytes
-- Returns for each of the generations 1 where there was one, else 0.
-- They go first: what a script adds after its first write is not refused by a server that is full.
redis.call('DEL', KEYS[2])
local there = {}
for i = 3, #KEYS do
  there[i - 2] = redis.call('DEL', KEYS[i])
end
local length = redis.call('STRLEN', KEYS[1])
if length + #ARGV[1] > tonumber(ARGV[2]) then
  -- A load that remembers this journal is refused, as if any of them had ended.
  redis.call('DEL', KEYS[1])
elseif length > 0 then
  redis.call('APPEND', KEYS[1], ARGV[1])
end
return there
