-- Delete the dead letters and their books once the newest are too old; return the number of letters. It follows
-- `dead_letters.lua` in the same script. Where only some are too old, these go with the next letter; so do all without the
-- permission for TIME.
--
-- KEYS: the stream, its books. ARGV: the milliseconds of `max_age`.
local known = read_books(KEYS[2])
local newest, time = known and redis.call('HMGET', KEYS[2], known[2])[1], redis.pcall('TIME')
if not newest or not time[1] or not is_too_old(newest, ARGV[1], time[1] * 1000) then
  return 0
end
redis.call('EXPIRE', KEYS[1], 0)
redis.call('EXPIRE', KEYS[2], 0)
return known[3]
