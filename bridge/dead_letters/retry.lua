-- Puts the messages of a letter, and the letters of its routes that fail, in the letter's place, in one atomic step.
--
-- Safe to send again when the reply was lost, and by two at once: a run that does not find the letter writes nothing.
--
-- KEYS  the stream, its books; the list and the hash of each message's queue, in turn;
--       then the keys of the messages that have one of their own;
--       then, with a lifetime, the key that remembers the routes which are written for the event's deduplication key.
-- ARGV  the letter's id;
--       the number of messages, for each route id body, and the lifetime of its own key (ms), 0 without one;
--       two lifetimes of the last key (ms): one that is there gets the first, one that is not the second; 0: neither has one;
--       the number of new letters, for each route field-count (name value)*;
--       at most so many letters, bytes, ms of age
-- Reply 'gone'; or the messages that were written, the messages and letters that were left out since their routes were written
--       before or their own keys are there, the older letters that went to make room,
--       then the id of the first new letter and its route, '' without one
-- Errors before its first effect. DEADLETTERS: a key of theirs is of a wrong type. WRONGTYPE: a queue's is, so the messages can
--       never be written. NOPERM: the user lacks a command. Those of the server itself (OOM, READONLY, MISCONF).

local wrong = broken_letters()
if wrong then
  return wrong
end
local ID = ARGV[1]
local entry = redis.call('XRANGE', STREAM, ID, ID)[1]
if not entry then
  return 'gone'
end

local at = 1
local function take()
  at = at + 1
  return ARGV[at]
end

local MESSAGES = tonumber(take())
local first_message = at
at = at + 4 * MESSAGES
local LIFETIME, NEW_LIFETIME, LETTERS = tonumber(take()), tonumber(take()), tonumber(take())
local SEEN = LIFETIME > 0 and KEYS[#KEYS]
for m = 1, MESSAGES do
  wrong = wrong or must_be(KEYS[1 + 2 * m], 'list') or must_be(KEYS[2 + 2 * m], 'hash')
end
for k = 3 + 2 * MESSAGES, #KEYS do
  wrong = wrong or must_be(KEYS[k], 'string')
end
if wrong then
  return wrong
end

begin(ID)
may_remove()
for m = 1, MESSAGES do
  must_run('HSET', KEYS[2 + 2 * m], '', '')
  must_run('RPUSH', KEYS[1 + 2 * m], '')
end
if SEEN then
  must_run('GET', SEEN)
end
if #KEYS > 2 + 2 * MESSAGES then
  must_run('SET', KEYS[#KEYS], '', 'NX')
end
if LETTERS > 0 then
  must_run('XADD', STREAM, '*', '', '')
end
if refused then
  return redis.error_reply(refused)
end

-- As `enqueue.lua` has it: an empty value is from before there were routes in it, and has all.
local function was_written(route)
  local value = SEEN and redis.call('GET', SEEN)
  return value and (value == '' or string.find('\n' .. value .. '\n', '\n' .. route .. '\n', 1, true))
end

local function remember(route)
  local value = SEEN and redis.call('GET', SEEN)
  if value then
    redis.call('SET', SEEN, value .. '\n' .. route, 'PX', LIFETIME)
  elseif SEEN and NEW_LIFETIME > 0 then
    redis.call('SET', SEEN, route, 'PX', NEW_LIFETIME)
  end
end

local remove, save = open_for_removal()
remove(entry)
save()
local written, left_out, gone, first_id = 0, 0, 0, nil
local own_key = 2 + 2 * MESSAGES
-- Of a route with several messages all are written, or none.
local written_before = {}
for m = 1, MESSAGES do
  local i = first_message + 4 * m - 3
  local route, id, body, lifetime = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if written_before[route] == nil then
    written_before[route] = was_written(route) and true or false
    if not written_before[route] then
      remember(route)
    end
  end
  local leave_out = written_before[route]
  if lifetime ~= '0' then
    own_key = own_key + 1
    leave_out = leave_out or not redis.call('SET', KEYS[own_key], '', 'NX', 'PX', lifetime)
  end
  if leave_out then
    left_out = left_out + 1
  else
    redis.call('HSET', KEYS[2 + 2 * m], id, body)
    redis.call('RPUSH', KEYS[1 + 2 * m], id)
    written = written + 1
  end
end
local add_letter, close_books
for _ = 1, LETTERS do
  local route, fields = take(), tonumber(take())
  if route ~= '' and was_written(route) then
    left_out = left_out + 1
  else
    if not add_letter then
      -- One letter that takes the place of another pushes none out, whatever the bounds are by now.
      add_letter, close_books = open_books(
        STREAM, BOOKS, tonumber(ARGV[#ARGV - 2]), tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV]), LETTERS == 1
      )
    end
    local new_id = add_letter(at + 1, at + 2 * fields)
    first_id = first_id or new_id .. ' ' .. route
  end
  at = at + 2 * fields
end
if close_books then
  local for_bytes, for_number, for_age = close_books()
  gone = for_bytes + for_number + for_age
end
return {written, left_out, gone, first_id or ''}
