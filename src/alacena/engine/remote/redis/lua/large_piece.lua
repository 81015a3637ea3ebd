-- Add a piece to a large value that is on its way, under a key of its own.
-- KEYS: the key.  ARGV: the piece, where it begins, life of what is there in ms
-- Returns 1, or 0 if the pieces before it are not there any more: nobody will miss this one.
if redis.call('STRLEN', KEYS[1]) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('APPEND', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
