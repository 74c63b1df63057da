-- A look after one group of one stream, in one atomic step.
--
-- Counts the entries that were removed before the group had read them. A stream counts what was added to it, and a
-- group what it has read; what was added is either read, or waiting, or gone unread. What waits is known without a walk
-- through the stream where the group has read nothing of what is there, or all of it: otherwise a later look tells.
-- Then the group's own count is put right (later releases of Redis do so by themselves at the next read, #13958):
-- so each loss is told once, whichever consumer looks, and after a restart too.
--
-- And deletes consumers that hold nothing and were not heard of for long: each restart of a pod may bring a new name. In
-- the same step, since with a consumer the entries that it holds are forgotten.
--
-- KEYS[1] the stream   ARGV the group, the consumer that looks, the idle time of one to delete (ms)
-- Reply   how many entries are lost since the last look (-1: this Redis does not count), how many consumers were deleted

local KEY, GROUP, MYSELF, LONG = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

local function named(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

local group
if redis.call('EXISTS', KEY) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEY)) do
    local one = named(flat)
    if one.name == GROUP then
      group = one
    end
  end
end
if not group then
  return {0, 0}
end

-- Own pending entries behind the last one there can be: none, but a sign of life. Before 7.2 a read that waits is none
-- (observed). And not the very last id, which is Redis's own word for '>' (observed).
local END = '18446744073709551615-18446744073709551614'
redis.call('XREADGROUP', 'GROUP', GROUP, MYSELF, 'COUNT', 1, 'STREAMS', KEY, END)
local deleted = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEY, GROUP)) do
  local one = named(flat)
  if one.pending == 0 and one.idle > LONG then
    redis.call('XGROUP', 'DELCONSUMER', KEY, GROUP, one.name)
    deleted = deleted + 1
  end
end

local stream = named(redis.call('XINFO', 'STREAM', KEY))
local added, last, read = stream['entries-added'], group['last-delivered-id'], group['entries-read']
if not added then
  return {-1, deleted}
end
local waiting
if last == stream['last-generated-id'] then
  waiting = 0
elseif #redis.call('XRANGE', KEY, '-', last, 'COUNT', 1) == 0 then
  waiting = stream.length
else
  return {0, deleted}
end
if read == added - waiting then
  return {0, deleted}
end
redis.call('XGROUP', 'SETID', KEY, GROUP, last, 'ENTRIESREAD', added - waiting)
-- A group of which Redis does not know how much it has read (a new one, or after XDEL) is counted from now on.
return {read and math.max(0, added - waiting - read) or 0, deleted}
