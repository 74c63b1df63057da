-- Deletes letters, in one atomic step. It follows `remove.lua` in the same script.
--
-- KEYS  the stream, its books. ARGV the letters' ids.
-- Reply the number of letters that were there.
--
-- A Redis without memory takes no write of the books, and yet deletes: then the books go on counting the letters' room, as
-- they do for letters that a person has deleted.

local wrong = broken_letters()
if wrong then
  return wrong
end
if redis.call('TYPE', STREAM).ok == 'none' then
  return 0
end
begin(ARGV[#ARGV])
local is_full = refused and string.find(refused, 'OOM', 1, true)
refused = not is_full and refused or nil
may_remove()
if refused then
  return redis.error_reply(refused)
end
local function delete(entry)
  redis.call('XDEL', STREAM, entry[1])
end
local remove, save = delete, function() end
if not is_full then
  remove, save = open_for_removal()
end
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
