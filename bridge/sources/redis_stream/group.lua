-- Inspects one group of one stream, in one atomic step.
--
-- Counts the entries that were removed before the group had read them. A stream counts the entries added to it, and a
-- group counts those it has read; each added entry is either read, or unread and still there, or removed unread. The
-- number of unread entries is known without a walk through the stream only if the group has read none of the entries
-- that are there, or all of them; in other cases a later inspection counts. Then the group's own count is corrected
-- (later releases of Redis do so by themselves at the next read, #13958). So each loss is counted once, whichever
-- consumer inspects, and after a restart too.
--
-- Where an append-only file is read again, and at a failover, Redis 7.0 forgets how much the group has read, back to the last
-- XGROUP SETID (the file and the replicas get the last id of a read alone, as XCLAIM; observed). So each inspection records
-- the number. A lower one than the group has read is corrected, and until it is known again no entry is called lost.
--
-- Deletes consumers that hold nothing and have been idle for long: each restart of a pod may bring a new name. This is in
-- the same step because deleting a consumer also forgets the entries that it holds.
--
-- KEYS[1] the stream
-- ARGV    the group, the consumer that inspects, the idle time after which one is deleted (ms), the number that the last
--         inspection returned (-1: there was none), the entries that this consumer has read since
-- Reply   the entries lost since the last inspection (-1: this Redis does not count, -2: it has forgotten, and some may be
--         lost), the number of deleted consumers, the number of entries that the group has read (-1: unknown, 2^53: forgotten)

local KEY, GROUP, OWN_CONSUMER, MAX_IDLE_MS = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local COUNTED, NEW, FORGOTTEN = tonumber(ARGV[4]), tonumber(ARGV[5]), 2 ^ 53

local function to_table(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

local group
if redis.call('EXISTS', KEY) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEY)) do
    local candidate = to_table(flat)
    if candidate.name == GROUP then
      group = candidate
    end
  end
end
if not group then
  return {0, 0, -1}
end

-- Reads an empty range of our own pending list: returns nothing, but resets our idle time. Before 7.2 a read that waits
-- does not reset it (observed). The very last id is not used, since Redis itself uses it for '>' (observed).
local END = '18446744073709551615-18446744073709551614'
redis.call('XREADGROUP', 'GROUP', GROUP, OWN_CONSUMER, 'COUNT', 1, 'STREAMS', KEY, END)
local deleted = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEY, GROUP)) do
  local consumer = to_table(flat)
  if consumer.pending == 0 and consumer.idle > MAX_IDLE_MS then
    redis.call('XGROUP', 'DELCONSUMER', KEY, GROUP, consumer.name)
    deleted = deleted + 1
  end
end

local stream = to_table(redis.call('XINFO', 'STREAM', KEY))
local added, last, read = stream['entries-added'], group['last-delivered-id'], group['entries-read']
if not added then
  return {-1, deleted, -1}
end
local unread
if last == stream['last-generated-id'] then
  unread = 0
elseif #redis.call('XRANGE', KEY, '-', last, 'COUNT', 1) == 0 then
  unread = stream.length
end
local least = COUNTED >= 0 and COUNTED + NEW or -1
local forgotten = read and read < least
local first = forgotten and COUNTED < FORGOTTEN
-- No more can be lost than was ever removed: where nothing was, a bridge that has just started is not misled either.
local lost, removed, count = 0, added - stream.length, read
if unread then
  count = added - unread
  -- If Redis does not know how much the group has read (a new group, or after XDEL), losses are counted from now on.
  lost = read and math.max(0, math.min(count - read, removed)) or 0
elseif first then
  count, lost = math.min(least, added), removed
end
if count and (count ~= read or count ~= COUNTED) then
  redis.call('XGROUP', 'SETID', KEY, GROUP, last, 'ENTRIESREAD', count)
end
if forgotten then
  lost = first and lost > 0 and -2 or 0
  count = unread and count or FORGOTTEN
end
return {lost, deleted, count or -1}
