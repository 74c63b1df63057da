-- Counts the messages of one queue. KEYS: list, hash, hash of the delayed messages, set of the dead ones.
-- A worker takes a message out of the list, and out of the hash only once it has run.
local waiting, kept = redis.call('LLEN', KEYS[1]), redis.call('HLEN', KEYS[2])
return {waiting, redis.call('HLEN', KEYS[3]), math.max(0, kept - waiting), redis.call('ZCARD', KEYS[4])}
