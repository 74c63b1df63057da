-- One batch: every message of every event in it, and its dead letters, in one atomic step.
--
-- Safe to send again when the reply was lost, also after workers have consumed the messages:
-- the writer's key holds the number of its last batch and the result, and a run that finds its number writes nothing.
--
-- KEYS[1] the writer's key, KEYS[2] the dead letters' stream, then the list and the hash of each queue,
--         then the keys of the gates.
-- ARGV    the batch's number, the lifetime of the writer's key (s), the dead letters' cap, the number of queues, then the entries:
--         gate  '-'                           no gate: any number of events in one entry
--               'a' key# group entry-id       stream in this Redis: XACK must say 1
--               's' key# lifetime (ms)        identity: SET NX must succeed
--         the number of queues written to, and for each  queue# count (id body)*
--         the number of dead letters, and for each       field-count (name value)*
-- Reply   'messages duplicates', then the length of each queue's list.

local WRITER, DEAD = KEYS[1], KEYS[2]
local NUMBER, LIFETIME, CAP, QUEUES = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local last, result = string.match(redis.call('GET', WRITER) or '0', '^(%d+) ?(.*)$')
if last == NUMBER and result ~= '' then
  return result
end
if tonumber(last) > tonumber(NUMBER) then
  return redis.error_reply('LATE batch ' .. NUMBER .. ' of a writer that has written batch ' .. last)
end

-- Types first: an error half-way is not rolled back, neither here nor in MULTI.
local function must_be(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. found .. ', not a ' .. kind)
  end
end
-- No fault of any message: said in a word of its own, so that none is given up for it.
local wrong = must_be(DEAD, 'stream')
if wrong then
  return redis.error_reply('DEADLETTERS ' .. wrong.err)
end
for q = 1, QUEUES do
  wrong = wrong or must_be(KEYS[1 + 2 * q], 'list') or must_be(KEYS[2 + 2 * q], 'hash')
end
for k = 3 + 2 * QUEUES, #KEYS do
  local found = redis.call('TYPE', KEYS[k]).ok
  if found ~= 'none' and found ~= 'stream' and found ~= 'string' then
    wrong = wrong or redis.error_reply('WRONGTYPE ' .. KEYS[k] .. ' holds a ' .. found)
  end
end
if wrong then
  return wrong
end

-- Permissions too, where Redis can tell (from 7.0): a command that is denied half-way is an error half-way.
local function must_run(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then
    local command, key = ...
    wrong = redis.error_reply('NOPERM the user may not run ' .. command .. ' on ' .. key)
  end
end
must_run('XADD', DEAD, '*', '', '')
for q = 1, QUEUES do
  must_run('HSET', KEYS[2 + 2 * q], '', '')
  must_run('RPUSH', KEYS[1 + 2 * q], '')
end
if wrong then
  return wrong
end

-- The first write: a Redis that refuses writes (OOM, READONLY, MISCONF) refuses here, before anything is done.
-- Without a result: should a run break off half-way, the next one writes rather than believes it done.
redis.call('SET', WRITER, NUMBER, 'EX', LIFETIME)

local at = 4
local function take()
  at = at + 1
  return ARGV[at]
end
local function passes(gate)
  if gate == '-' then
    return true
  end
  local key = KEYS[2 + 2 * QUEUES + tonumber(take())]
  if gate == 'a' then
    local group = take()
    return redis.call('XACK', key, group, take()) == 1
  end
  return redis.call('SET', key, '', 'NX', 'PX', take()) ~= false
end

local ids, pairs_ = {}, {}
for q = 1, QUEUES do
  ids[q], pairs_[q] = {}, {}
end
local messages, duplicates, letters = 0, 0, {}
while at < #ARGV do
  local open = passes(take())
  if not open then
    duplicates = duplicates + 1
  end
  for _ = 1, tonumber(take()) do
    local q, count = tonumber(take()), tonumber(take())
    local i, p = ids[q], pairs_[q]
    for _ = 1, count do
      if open then
        i[#i + 1] = ARGV[at + 1]
        p[#p + 1] = ARGV[at + 1]
        p[#p + 1] = ARGV[at + 2]
        messages = messages + 1
      end
      at = at + 2
    end
  end
  for _ = 1, tonumber(take()) do
    local fields = tonumber(take())
    if open then
      letters[#letters + 1] = {at + 1, at + 2 * fields}
    end
    at = at + 2 * fields
  end
end

-- In pieces: Lua cannot unpack more than about 8,000 values at once.
local lengths = {messages, duplicates}
for q = 1, QUEUES do
  local list, hash = KEYS[1 + 2 * q], KEYS[2 + 2 * q]
  for first = 1, #pairs_[q], 4000 do
    redis.call('HSET', hash, unpack(pairs_[q], first, math.min(first + 3999, #pairs_[q])))
  end
  local length = 0
  for first = 1, #ids[q], 4000 do
    length = redis.call('RPUSH', list, unpack(ids[q], first, math.min(first + 3999, #ids[q])))
  end
  lengths[#lengths + 1] = length
end
for _, letter in ipairs(letters) do
  redis.call('XADD', DEAD, 'MAXLEN', '~', CAP, '*', unpack(ARGV, letter[1], letter[2]))
end

result = table.concat(lengths, ' ')
redis.call('SET', WRITER, NUMBER .. ' ' .. result, 'EX', LIFETIME)
return result
