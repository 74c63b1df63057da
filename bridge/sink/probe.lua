-- Proves that this server takes a batch: it knows each command of the other scripts, permits it, and takes a write.
--
-- The key holds a string: to every other command it is of the wrong type, or the arguments are wrong, so none has an effect.
-- Where the server does not know a command (another server than Redis, an older one, `rename-command`) or forbids it, the
-- error says so instead.
--
-- KEYS[1] the probe's own key, KEYS[2] the dead letters' stream: in a Redis Cluster they are in one slot, as a batch's are.
-- ARGV    the commands, SET first, each with its arguments behind the key: 'HSET x x'
-- Reply   'written'

for _, words in ipairs(ARGV) do
  local command, arguments = string.match(words, '^(%u+)'), {}
  for argument in string.gmatch(words, ' (%S+)') do
    arguments[#arguments + 1] = argument
  end
  local reply = redis.pcall(command, KEYS[1], unpack(arguments))
  -- miniredis returns nil, fakeredis an error that is no string.
  local refusal = type(reply) == 'table' and reply.err and tostring(reply.err) or ''
  if string.find(refusal, '[Uu]nknown %a*%s?command') then
    return redis.error_reply("ERR unknown command '" .. command .. "'")
  end
  if is_denial(refusal) then
    return redis.error_reply(say_denial(command, KEYS[1]))
  end
  if command == 'SET' and refusal ~= '' then
    return redis.error_reply(refusal)
  end
end
return 'written'
