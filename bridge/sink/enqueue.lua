-- Writes one batch: every message of every event in it, and its dead letters, in one atomic step.
--
-- Safe to send again when the reply was lost, also after workers have consumed the messages: the sequence's key holds
-- the number of its last batch and the result, and a run that finds its own number there writes nothing.
--
-- KEYS[1] the batch sequence's key, KEYS[2] the dead letters' stream, then the list and the hash of each queue,
--         then two keys of each log: its position, and its restart; then the keys of the conditions. The keys that remember
--         entries of 'a' are not among them: in the usual case none is touched.
-- ARGV    the batch's number, the lifetime of the sequence's key (s), the number of dead letters, the number of queues;
--         the number of logs, for each the position from which its reader goes on: the highest id of its events in this
--         batch, or with 'p' the offset behind them;
--         the number of conditions (0: none), each for a run of consecutive events:
--           '-' events                                    no condition
--           'a' events key# group log# seen lifetime again entry-id*
--                                                         a stream in this Redis: XACK must say 1, or, where the group
--                                                         was lost, the key of `seen` and the id must be new; with
--                                                         again = 1 another consumer may hold them too
--           'p' events log# offset*                       the log's position must not be behind the offset
--           's' events first-key# lifetime (ms)           a key for each event's deduplication key: SET NX must succeed
--           'r' events first-key# lifetime (ms)           the same keys, each with the routes that were written: a message
--                                                         is written if its route is not among them
--           'k' series first-key# series*                 no run of events: a key for each of these messages, in the order
--                                                         of the batch; SET NX must succeed too. A series is
--                                                         'messages queue# place event-index step route# lifetime': each
--                                                         one's place, from 0, is the next, its event `step` further on;
--                                                         its route is 0 without 'r'
--         the number of routes, and their names, for the messages of 'r';
--         for each queue: the number of messages, the index of each one's event as 'index index ...' from 0 ('': the
--           first message belongs to the first event, and so on, or there are no conditions), the number of each one's
--           route from 1 in the same way ('' without 'r'), (id body)*
--         for each dead letter: event-index route field-count (name value)*
--         with dead letters: the key of their books (see `dead_letters.lua`), at most so many letters, bytes, ms of age
--         key# is a place in KEYS, log# counts the logs from 1.
--         To fence a batch instead, KEYS[1] alone; and the batch's number, the lifetime, and the number of the first
--         of the batches that it is merged of, or its own.
-- Reply   'messages duplicates', then the length of each queue's list, then the index of one duplicate (-1: none);
--         where older dead letters had to go: ';', then how many for want of bytes, for their number, for their age,
--         and 1 if others went uncounted; where there are duplicates: '|', then the index of each;
--         where messages of 'k' were left out for their own keys: '/', then the number of each from 0; where 'r' has left
--         out some of an event, and not all: for each route a line more, the events' indexes, ':', the route's name.
--         'halved first last' if the batches with these numbers, merged into one, are fenced: Redis never writes them
--         by their numbers, but in parts, which have sequences of their own.
-- Errors  of the script itself, before its first effect. LATE: the sequence has written a later batch, so this one too.
--         DEADLETTERS: the dead letters' key holds no stream. WRONGTYPE: a queue's or a condition's key holds another
--         type. NOPERM: the user may not run a command.

local SEQUENCE, DEAD = KEYS[1], KEYS[2]
local NUMBER, LIFETIME, LETTERS, QUEUES = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local last, result = string.match(redis.call('GET', SEQUENCE) or '0', '^(%d+) ?(.*)$')
if not last then
  return redis.error_reply('SEQUENCE ' .. SEQUENCE .. ' holds no number of a batch: start the version again that has'
    .. ' written it; or delete it, then the events of one batch may come twice')
end
if last == NUMBER and result ~= '' then
  return result
end
if tonumber(last) > tonumber(NUMBER) then
  local first = string.match(result, '^halved (%d+) %d+$')
  if first and tonumber(NUMBER) >= tonumber(first) then
    return result
  end
  return redis.error_reply('LATE batch ' .. NUMBER .. ' of a writer that has written batch ' .. last)
end

-- The fence: data of the whole that Redis reads late write nothing from now on.
if #ARGV == 3 then
  result = 'halved ' .. ARGV[3] .. ' ' .. NUMBER
  redis.call('SET', SEQUENCE, NUMBER .. ' ' .. result, 'EX', LIFETIME)
  return result
end

-- Check all types before the first write: an error half-way is not rolled back, neither here nor in MULTI.
-- A broken dead-letter key is not the batch's fault. Its own error code keeps the caller from making dead letters.
local BOOKS = LETTERS > 0 and ARGV[#ARGV - 3]
local wrong = must_be(DEAD, 'stream') or BOOKS and must_be(BOOKS, 'hash')
if wrong then
  return redis.error_reply('DEADLETTERS ' .. wrong.err)
end
for q = 1, QUEUES do
  wrong = wrong or must_be(KEYS[1 + 2 * q], 'list') or must_be(KEYS[2 + 2 * q], 'hash')
end
local LOGS, streams, positions, restarts = 2 + 2 * QUEUES, {}, {}, {}
local first_condition_key = LOGS + 2 * tonumber(ARGV[5]) + 1
local is_there = {}
for k = LOGS + 1, first_condition_key - 1 do
  local broken = must_be(KEYS[k], 'string')
  if broken then
    return redis.error_reply('POSITIONS ' .. broken.err)
  end
end
local function read_position(key)
  local value = redis.call('GET', key)
  if value and not string.match(value, '^%d+-?%d*$') then
    wrong = redis.error_reply('POSITIONS ' .. key .. ' holds no position: stop the bridge, and delete it or mend it;'
      .. ' or start the version again that has written it')
  end
  return value
end
for log = 1, tonumber(ARGV[5]) do
  positions[log], restarts[log] = read_position(KEYS[LOGS + 2 * log - 1]), read_position(KEYS[LOGS + 2 * log])
end
if wrong then
  return wrong
end
for k = first_condition_key, #KEYS do
  local actual = redis.call('TYPE', KEYS[k]).ok
  if actual == 'stream' then
    streams[#streams + 1] = KEYS[k]
  elseif actual == 'string' then
    is_there[k] = true
  elseif actual ~= 'none' then
    wrong = wrong or redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. actual)
  end
end
if wrong then
  return wrong
end

-- Redis 8 counts Lua's heap as memory in use, and the arguments of a large batch stay there as garbage: 12 MB of three
-- batches (8.0.2, observed). At `maxmemory` they would keep workers from acknowledging. A count is in KiB.
local function free_arguments()
  if (collectgarbage('count') or 0) > 512 then
    local bytes = 0
    for i = #ARGV, 1, -1 do
      bytes = bytes + #ARGV[i]
      ARGV[i] = nil
    end
    -- The heap may be of other scripts, and large: a batch that is a small part of it leaves it alone.
    if bytes > 256 * 1024 and bytes * 4 > collectgarbage('count') * 1024 then
      collectgarbage()
    end
  end
end

-- The first write: a Redis that refuses writes (OOM, READONLY, MISCONF) refuses this one, before any effect.
-- It stores no result: if the run breaks off half-way, the next one writes instead of taking the batch for written.
local refused = redis.pcall('SET', SEQUENCE, NUMBER, 'EX', LIFETIME).err

-- Then the permissions: a command that is denied half-way is an error half-way. Before 7.0 Redis has no question for them: there
-- the command is tried on the sequence's key, a string, where it has no effect: its type is wrong, and EXPIRE is repeated.
local function must_run(command, key, ...)
  local permitted
  if redis.acl_check_cmd then
    permitted = redis.acl_check_cmd(command, key, ...)
  else
    local reply = redis.pcall(command, SEQUENCE, ...)
    local refusal = type(reply) == 'table' and tostring(reply.err) or ''
    permitted = not is_denial(refusal)
  end
  if not permitted then
    refused = say_denial(command, key)
  end
end
if not refused then
  must_run('XADD', DEAD, '*', '', '')
  if BOOKS then
    must_run('HMGET', BOOKS, '')
    must_run('HSET', BOOKS, '', '')
    must_run('HDEL', BOOKS, '')
    must_run('EXPIRE', BOOKS, LIFETIME)
  end
  for _, key in ipairs(streams) do
    must_run('XACK', key, '', '0')
  end
  for q = 1, QUEUES do
    must_run('HSET', KEYS[2 + 2 * q], '', '')
    must_run('RPUSH', KEYS[1 + 2 * q], '')
  end
end
if refused then
  free_arguments()
  return redis.error_reply(refused)
end

local at = 4
local function take()
  at = at + 1
  return ARGV[at]
end

-- Tell whether an id of a log comes after another: `milliseconds-number`, or one number. Lua's numbers hold 53 bits of
-- the 64, so only short ones are compared as numbers, which is sooner done, and the others as text.
local function is_later(id, other)
  if #id < 16 and #other < 16 then
    local number, other_number = tonumber(id), tonumber(other)
    if number and other_number then
      return number > other_number
    end
  end
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

local highest = {}
for log = 1, tonumber(take()) do
  highest[log] = take()
end

-- Usually every condition holds and `duplicate` stays empty: then no message has to be left out below.
local duplicate, duplicates, duplicate_indexes, event = {}, 0, {}, -1
local function mark_duplicate(index)
  duplicate[index] = true
  duplicates = duplicates + 1
  duplicate_indexes[duplicates] = index
end
-- Of 'r': by event the position of its key, the lifetime, and how many messages and dead letters it has, and has left out;
-- by route the events of which it has left out some.
local key_of, lifetime_of, parts, left_out, written_before = {}, {}, {}, {}, {}
local all_series, first_series, gate_key = 0, nil, nil
for _ = 1, tonumber(take()) do
  local kind, events = take(), tonumber(take())
  if kind == '-' then
    event = event + events
  elseif kind == 'a' then
    local key, group, log, seen, lifetime = KEYS[tonumber(take())], take(), tonumber(take()), take(), take()
    local again = take() == '1'
    local position, restart, lost = positions[log], restarts[log], nil
    for i = at + 1, at + events do
      event = event + 1
      local id = ARGV[i]
      local acknowledged = redis.call('XACK', key, group, id) == 1
      -- The group was lost and made again: it delivers entries again that are held, and perhaps written, since the loss.
      -- Or it is lost now: nobody has written an id beyond the position.
      local unknown = restart and not is_later(id, restart)
      if not acknowledged and not unknown then
        if lost == nil then
          lost = redis.pcall('XPENDING', key, group).err ~= nil  -- or not permitted: then it may be
        end
        unknown = lost or not position or is_later(id, position)
      end
      if unknown then
        if not redis.call('SET', seen .. id, '', 'NX', 'PX', lifetime) then
          mark_duplicate(event)
        end
      elseif not acknowledged then
        mark_duplicate(event)
      elseif again then
        redis.call('SET', seen .. id, '', 'PX', lifetime)
      end
    end
    at = at + events
  elseif kind == 'p' then
    local position = positions[tonumber(take())] or '0'
    for i = at + 1, at + events do
      event = event + 1
      if is_later(position, ARGV[i]) then
        mark_duplicate(event)
      end
    end
    at = at + events
  elseif kind == 'k' then
    all_series, gate_key, first_series = events, tonumber(take()), at + 1
    at = at + all_series
  else
    local first, lifetime = tonumber(take()), take()
    for k = first, first + events - 1 do
      event = event + 1
      if kind == 'r' then
        key_of[event], lifetime_of[event], parts[event], left_out[event] = k, lifetime, 0, 0
      elseif not redis.call('SET', KEYS[k], '', 'NX', 'PX', lifetime) then
        mark_duplicate(event)
      end
    end
  end
end

for log, id in ipairs(highest) do
  if not positions[log] or is_later(id, positions[log]) then
    redis.call('SET', KEYS[LOGS + 2 * log - 1], id)
  end
end

local routes = {}
for number = 1, tonumber(take()) do
  routes[number] = take()
end

-- Tell whether the value of a key has a route. An empty value is from before there were routes in it: it has all.
local function has(value, route)
  return value and (value == '' or string.find('\n' .. value .. '\n', '\n' .. route .. '\n', 1, true))
end

local function leave_out(index, route)
  left_out[index] = left_out[index] + 1
  local events = written_before[route] or {}
  if events[#events] ~= index then
    events[#events + 1] = index
  end
  written_before[route] = events
end

-- Tell whether a key has a route; remember it if not. `ours` has the routes of which this batch writes messages for a key:
-- the second one of a route is no duplicate of the first.
local ours = {}
local function has_route(k, route, lifetime)
  if has(ours[k], route) then
    return false
  end
  if redis.call('SET', KEYS[k], route, 'NX', 'PX', lifetime) then
    ours[k] = route
    return false
  end
  local value = redis.call('GET', KEYS[k])
  if has(value, route) then
    return true
  end
  redis.call('SET', KEYS[k], value .. '\n' .. route, 'PX', lifetime)
  ours[k] = ours[k] and ours[k] .. '\n' .. route or route
  return false
end

-- Tell whether a message is to be left out. The messages of a route and event follow one another: the first one asks.
local last_index, last_route, last_is_out
local function was_written(index, route)
  local k = key_of[index]
  if not k then
    return duplicate[index]
  end
  if index ~= last_index or route ~= last_route then
    last_index, last_route, last_is_out = index, route, has_route(k, route, lifetime_of[index])
  end
  parts[index] = parts[index] + 1
  if last_is_out then
    leave_out(index, route)
  end
  return last_is_out
end

-- The messages that have keys of their own, before all others: of two with the same key the first one of the batch is
-- written, whatever their queues are. By queue and place, whether one is left out, as far as that is not clear below.
local gated, suppressed, gate = {}, {}, 0
for series = 1, all_series do
  local count, q, place, index, step, number, lifetime =
    string.match(ARGV[first_series + series - 1], '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  q, place, index, step = tonumber(q), tonumber(place), tonumber(index), tonumber(step)
  local route = routes[tonumber(number)] or ''
  for _ = 1, tonumber(count) do
    local is_out = was_written(index, route)
    if not is_out and (is_there[gate_key] or not redis.call('SET', KEYS[gate_key], '', 'NX', 'PX', lifetime)) then
      is_out = true
      suppressed[#suppressed + 1] = gate
      if key_of[index] then
        left_out[index] = left_out[index] + 1
      end
    end
    if is_out or key_of[index] then
      gated[q] = gated[q] or {}
      gated[q][place] = is_out or false
    end
    gate, gate_key, place, index = gate + 1, gate_key + 1, place + 1, index + step
  end
end

-- In pieces: Lua cannot unpack more than about 8,000 values at once.
local PIECE = 2000
local messages, lengths = 0, {}
for q = 1, QUEUES do
  local list, hash = KEYS[1 + 2 * q], KEYS[2 + 2 * q]
  local count, indexes, numbers = tonumber(take()), take(), take()
  local first, source = at + 1, ARGV
  at = at + 2 * count
  local is_out = gated[q]
  if duplicates > 0 or numbers ~= '' or is_out then
    local kept, n = {}, 0
    -- Other servers' iterators want what gmatch returns behind them (miniredis).
    local next_index, of_indexes = string.gmatch(indexes, '%d+')
    local next_number, of_numbers = string.gmatch(numbers, '%d+')
    for m = 0, count - 1 do
      local index = indexes == '' and m or tonumber(next_index(of_indexes))
      local route = routes[numbers ~= '' and tonumber(next_number(of_numbers)) or 0] or ''
      local leave_out = is_out and is_out[m]
      if leave_out == nil then
        leave_out = was_written(index, route)
      end
      if not leave_out then
        kept[n + 1], kept[n + 2] = ARGV[first + 2 * m], ARGV[first + 2 * m + 1]
        n = n + 2
      end
    end
    source, first, count = kept, 1, n / 2
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
local add_letter, close_books
for _ = 1, LETTERS do
  local index, route, fields = tonumber(take()), take(), tonumber(take())
  local k, is_duplicate = key_of[index], duplicate[index]
  if k then
    parts[index] = parts[index] + 1
    is_duplicate = route ~= '' and has(redis.call('GET', KEYS[k]), route)
    if is_duplicate then
      leave_out(index, route)
    end
  end
  if not is_duplicate then
    if not add_letter then
      local most, most_bytes, most_age = tonumber(ARGV[#ARGV - 2]), tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
      add_letter, close_books = open_books(DEAD, BOOKS, most, most_bytes, most_age)
    end
    add_letter(at + 1, at + 2 * fields)
  end
  at = at + 2 * fields
end
local trimmed = ''
if close_books then
  local for_bytes, for_number, for_age, uncounted = close_books()
  if for_bytes + for_number + for_age + uncounted > 0 then
    trimmed = string.format(';%.0f %.0f %.0f %.0f', for_bytes, for_number, for_age, uncounted)
  end
end

for index, count in pairs(parts) do
  if count > 0 and left_out[index] == count then
    mark_duplicate(index)
  end
end

lengths[#lengths + 1] = duplicate_indexes[duplicates] or -1
result = table.concat({messages, duplicates, unpack(lengths)}, ' ') .. trimmed
if duplicates > 0 then
  result = result .. '|' .. table.concat(duplicate_indexes, ' ')
end
if #suppressed > 0 then
  result = result .. '/' .. table.concat(suppressed, ' ')
end
for route, events in pairs(written_before) do
  local partly = {}
  for _, index in ipairs(events) do
    if not duplicate[index] then
      partly[#partly + 1] = index
    end
  end
  if #partly > 0 then
    result = result .. '\n' .. table.concat(partly, ' ') .. ':' .. route
  end
end
redis.call('SET', SEQUENCE, NUMBER .. ' ' .. result, 'EX', LIFETIME)

free_arguments()
return result
