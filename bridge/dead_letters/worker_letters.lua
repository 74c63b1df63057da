-- Takes messages out of the dead letters of Dramatiq's workers, and puts each back into its queue where it is retried. It
-- follows `permissions.lua` in the same script.
--
-- KEYS  `<queue>.XQ`, `<queue>.XQ.msgs`; to retry one message also the list and the hash that it goes to
-- ARGV  to retry: its id, its new id, its new body; to delete: the ids
-- Reply the number of messages that were there; -1 if the new id waits in the queue already
-- Errors before its first effect: as those of `retry.lua`

local SET, BODIES, LIST, HASH = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
for key, kind in pairs({[SET] = 'zset', [BODIES] = 'hash', [LIST or ''] = 'list', [HASH or ''] = 'hash'}) do
  local actual = key ~= '' and redis.call('TYPE', key).ok or 'none'
  if actual ~= 'none' and actual ~= kind then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. actual .. ', not a ' .. kind)
  end
end

-- Before 7.0 each command is tried on a key of a type on which it has no effect. HSET comes first: a Redis without memory
-- refuses it only before a command that takes none (6.0, observed).
local refused
local function must_run(command, key, harmless, ...)
  if redis.acl_check_cmd then
    refused = refused or not redis.acl_check_cmd(command, key, ...) and say_denial(command, key)
    return
  end
  local reply = redis.call('TYPE', harmless).ok ~= 'none' and redis.pcall(command, harmless, ...)
  local err = type(reply) == 'table' and tostring(reply.err) or 'WRONGTYPE'
  if is_denial(err) then
    refused = refused or say_denial(command, key)
  elseif not string.find(err, 'WRONGTYPE', 1, true) then
    refused = refused or err
  end
end

local function remove(id)
  return redis.call('ZREM', SET, id) + redis.call('HDEL', BODIES, id) > 0
end

if redis.call('TYPE', BODIES).ok == 'none' and redis.call('TYPE', SET).ok == 'none' then
  return 0
end
if LIST then
  must_run('HSET', HASH, SET, '', '')
  must_run('RPUSH', LIST, SET, '')
end
must_run('ZREM', SET, SET, '')
must_run('HDEL', BODIES, BODIES, '')
if refused then
  return redis.error_reply(refused)
end
if not LIST then
  local deleted = 0
  for _, id in ipairs(ARGV) do
    deleted = deleted + (remove(id) and 1 or 0)
  end
  return deleted
end
if redis.call('HEXISTS', BODIES, ARGV[1]) == 0 then
  return 0
end
if redis.call('HEXISTS', HASH, ARGV[2]) == 1 then
  return -1
end
-- The first write: a Redis that refuses writes (OOM, READONLY, MISCONF) refuses this one.
local written = redis.pcall('HSET', HASH, ARGV[2], ARGV[3])
if type(written) == 'table' and written.err then
  return redis.error_reply(written.err)
end
redis.call('RPUSH', LIST, ARGV[2])
remove(ARGV[1])
return 1
