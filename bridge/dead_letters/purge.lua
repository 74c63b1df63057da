-- Deletes letters, in one atomic step. It follows `remove.lua` in the same script.
--
-- KEYS  the stream, its books. ARGV the letters' ids.
-- Reply the number of letters that were there.

local wrong = broken_letters()
if wrong then
  return wrong
end
if redis.call('TYPE', STREAM).ok == 'none' then
  return 0
end
begin(ARGV[#ARGV])
may_remove()
if refused then
  return redis.error_reply(refused)
end
local remove, save = open_for_removal()
local deleted = 0
for _, id in ipairs(ARGV) do
  local entry = redis.call('XRANGE', STREAM, id, id)[1]
  if entry then
    remove(entry)
    deleted = deleted + 1
  end
end
save()
return deleted
