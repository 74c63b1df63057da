-- Proves that this server takes a batch: it knows each command of the other scripts, and takes a write.
--
-- A command without arguments is refused for their number and has no effect; where the server does not know it (another
-- server than Redis, an older one, `rename-command`), the error says so.
--
-- KEYS[1] the probe's own key, KEYS[2] the dead letters' stream: in a Redis Cluster they are in one slot, as a batch's are.
-- ARGV    the commands
-- Reply   'written'

for _, command in ipairs(ARGV) do
  local reply = redis.pcall(command)
  -- miniredis returns nil, fakeredis an error that is no string.
  if type(reply) == 'table' and string.find(tostring(reply.err), '[Uu]nknown') then
    return redis.error_reply("ERR unknown command '" .. command .. "'")
  end
end
redis.call('SET', KEYS[1], '', 'PX', 1)
return 'written'
