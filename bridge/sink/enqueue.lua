-- Writes one batch: every message of every event in it, and its dead letters, in one atomic step.
--
-- Safe to send again when the reply was lost, also after workers have consumed the messages: the sequence's key holds
-- the number of its last batch and the result, and a run that finds its own number there writes nothing.
--
-- KEYS[1] the batch sequence's key, KEYS[2] the dead letters' stream, then the list and the hash of each queue,
--         then, where there are positions, their hash and the one of restarts, then the keys of the conditions.
-- ARGV    the batch's number, the lifetime of the sequence's key (s), the dead letters' cap, the number of queues;
--         the number of positions, each a field and the id of the last event: what a reader of a log goes on from;
--         the number of conditions (0: none), each for a run of consecutive events:
--           '-' events                                    no condition
--           'a' events key# group field seen lifetime entry-id*
--                                                         a stream in this Redis: XACK must say 1, or, where the group
--                                                         was lost, the key of `seen` and the id must be new
--           's' events first-key# lifetime (ms)           a key for each event's deduplication key: SET NX must succeed
--         for each queue: the number of messages, the index of each one's event as 'index index ...' from 0 ('': the
--           first message belongs to the first event, and so on, or there are no conditions), (id body)*
--         for each dead letter: event-index field-count (name value)*
--         key# is a position in KEYS.
-- Reply   'messages duplicates', then the length of each queue's list.
-- Errors  of the script itself, before its first write. LATE: the sequence has written a later batch, so this one too.
--         DEADLETTERS: the dead letters' key holds no stream. WRONGTYPE: a queue's or a condition's key holds another
--         type. NOPERM: the user may not run a command.

local SEQUENCE, DEAD = KEYS[1], KEYS[2]
local NUMBER, LIFETIME, CAP, QUEUES = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local last, result = string.match(redis.call('GET', SEQUENCE) or '0', '^(%d+) ?(.*)$')
if last == NUMBER and result ~= '' then
  return result
end
if tonumber(last) > tonumber(NUMBER) then
  return redis.error_reply('LATE batch ' .. NUMBER .. ' of a writer that has written batch ' .. last)
end

-- Check all types before the first write: an error half-way is not rolled back, neither here nor in MULTI.
local function must_be(key, kind)
  local actual = redis.call('TYPE', key).ok
  if actual ~= 'none' and actual ~= kind then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. actual .. ', not a ' .. kind)
  end
end
-- A broken dead-letter key is not the batch's fault. Its own error code keeps the caller from making dead letters.
local wrong = must_be(DEAD, 'stream')
if wrong then
  return redis.error_reply('DEADLETTERS ' .. wrong.err)
end
for q = 1, QUEUES do
  wrong = wrong or must_be(KEYS[1 + 2 * q], 'list') or must_be(KEYS[2 + 2 * q], 'hash')
end
local POSITIONS, RESTARTS, first_condition_key
if tonumber(ARGV[5]) > 0 then
  POSITIONS, RESTARTS, first_condition_key = KEYS[3 + 2 * QUEUES], KEYS[4 + 2 * QUEUES], 5 + 2 * QUEUES
  for _, key in ipairs({POSITIONS, RESTARTS}) do
    local broken = must_be(key, 'hash')
    if broken then
      return redis.error_reply('POSITIONS ' .. broken.err)
    end
  end
else
  first_condition_key = 3 + 2 * QUEUES
end
for k = first_condition_key, #KEYS do
  local actual = redis.call('TYPE', KEYS[k]).ok
  if actual ~= 'none' and actual ~= 'stream' and actual ~= 'string' then
    wrong = wrong or redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. actual)
  end
end
if wrong then
  return wrong
end

-- Check the permissions too, where Redis can (from 7.0): a command that is denied half-way is an error half-way.
local function must_run(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    local command, key = ...
    wrong = redis.error_reply('NOPERM the user may not run ' .. command .. ' on ' .. key)
  end
end
must_run('XADD', DEAD, '*', '', '')
if POSITIONS then
  must_run('HSET', POSITIONS, '', '')
end
for q = 1, QUEUES do
  must_run('HSET', KEYS[2 + 2 * q], '', '')
  must_run('RPUSH', KEYS[1 + 2 * q], '')
end
if wrong then
  return wrong
end

-- The first write: a Redis that refuses writes (OOM, READONLY, MISCONF) refuses this one, before any effect.
-- It stores no result: if the run breaks off half-way, the next one writes instead of taking the batch for written.
redis.call('SET', SEQUENCE, NUMBER, 'EX', LIFETIME)

local at = 4
local function take()
  at = at + 1
  return ARGV[at]
end

-- Tell whether an id of a log comes after another: `milliseconds-number`, or one number. Lua's numbers hold 53 bits of
-- the 64, so they are compared as text.
local function is_later(id, other)
  local major, minor = string.match(id, '^(%d+)-?(%d*)$')
  local other_major, other_minor = string.match(other, '^(%d+)-?(%d*)$')
  if major == other_major then
    major, other_major = minor, other_minor
  end
  if #major ~= #other_major then
    return #major > #other_major
  end
  return major > other_major
end

local positions = {}
for _ = 1, tonumber(take()) do
  local field, last_id = take(), take()
  local values = redis.call('HMGET', POSITIONS, field)
  positions[field] = values[1]
  if not values[1] or is_later(last_id, values[1]) then
    redis.call('HSET', POSITIONS, field, last_id)
  end
end

-- Usually every condition holds and `duplicate` stays empty: then no message has to be left out below.
local duplicate, duplicates, event = {}, 0, -1
local function mark_duplicate()
  duplicate[event] = true
  duplicates = duplicates + 1
end
for _ = 1, tonumber(take()) do
  local kind, events = take(), tonumber(take())
  if kind == '-' then
    event = event + events
  elseif kind == 'a' then
    local key, group, field, seen, lifetime = KEYS[tonumber(take())], take(), take(), take(), take()
    local position, restart, lost = positions[field], redis.call('HMGET', RESTARTS, field)[1], nil
    for i = at + 1, at + events do
      event = event + 1
      local id = ARGV[i]
      local acknowledged = redis.call('XACK', key, group, id) == 1
      -- The group was lost and made again: it delivers again what is held, perhaps written, since the loss. Or it is lost
      -- now: nobody has written an id beyond the position.
      local unknown = restart and not is_later(id, restart)
      if not acknowledged and not unknown then
        if lost == nil then
          lost = string.sub(redis.pcall('XPENDING', key, group).err or '', 1, 7) == 'NOGROUP'
        end
        unknown = lost or not position or is_later(id, position)
      end
      if unknown then
        if not redis.call('SET', seen .. id, '', 'NX', 'PX', lifetime) then
          mark_duplicate()
        end
      elseif not acknowledged then
        mark_duplicate()
      end
    end
    at = at + events
  else
    local first, lifetime = tonumber(take()), take()
    for k = first, first + events - 1 do
      event = event + 1
      if not redis.call('SET', KEYS[k], '', 'NX', 'PX', lifetime) then
        mark_duplicate()
      end
    end
  end
end

-- In pieces: Lua cannot unpack more than about 8,000 values at once.
local PIECE = 2000
local messages, lengths = 0, {}
for q = 1, QUEUES do
  local list, hash = KEYS[1 + 2 * q], KEYS[2 + 2 * q]
  local count, indexes = tonumber(take()), take()
  local first, source = at + 1, ARGV
  at = at + 2 * count
  if duplicates > 0 then
    source, first = {}, 1
    local next_index = string.gmatch(indexes, '%d+')
    for m = 0, count - 1 do
      if not duplicate[indexes == '' and m or tonumber(next_index())] then
        source[#source + 1] = ARGV[at - 2 * (count - m) + 1]
        source[#source + 1] = ARGV[at - 2 * (count - m) + 2]
      end
    end
    count = #source / 2
  end
  local length = 0
  for start = 0, count - 1, PIECE do
    local from, till = first + 2 * start, first + 2 * math.min(start + PIECE, count) - 1
    redis.call('HSET', hash, unpack(source, from, till))
    local ids, n = {}, 0
    for i = from, till, 2 do
      n = n + 1
      ids[n] = source[i]
    end
    length = redis.call('RPUSH', list, unpack(ids))
  end
  messages = messages + count
  lengths[q] = length
end
while at < #ARGV do
  local index, fields = tonumber(take()), tonumber(take())
  if not duplicate[index] then
    redis.call('XADD', DEAD, 'MAXLEN', '~', CAP, '*', unpack(ARGV, at + 1, at + 2 * fields))
  end
  at = at + 2 * fields
end

result = table.concat({messages, duplicates, unpack(lengths)}, ' ')
redis.call('SET', SEQUENCE, NUMBER .. ' ' .. result, 'EX', LIFETIME)
return result
