-- The dead letters' stream and its books, by which it stays within its bounds. `enqueue.lua` or `delete_old_letters.lua`
-- follows in the same script.
--
-- The books are a hash: `count` and `bytes` of all letters, and blocks of consecutive letters, numbered from `first` to
-- `last`, each '<id of its first letter> <letters> <bytes>'. The oldest blocks go before a letter is added for which there
-- would be no room, so the bounds are never exceeded but by a letter that is larger than all of the room.
-- The books never count too little: of letters that a person has deleted (XDEL, XTRIM) they go on counting the room until
-- their block goes, and these letters are then said to be trimmed. Without the stream the books begin anew. Letters
-- without books (of an earlier version; or somebody deleted the books) are adopted: blocks whose id is only a time. Each of
-- them counts as the mean of all, and may be larger: while they go, the stream may take half of its bound too much.
--
-- A letter that is retried or purged leaves the books too (see `bridge/dead_letters/remove.lua`): its block may be empty.
--
-- A later version that keeps other books sets `format` in them. Such books, and broken ones, count as missing.
--
-- Neither key expires: with a policy of volatile-* Redis would delete them when it is full.
--
-- XADD alone trims, and EXPIRE alone deletes: every user who can write dead letters may run them.

-- A bound is divided into so many blocks: that many and no more letters, bytes and milliseconds are in one block.
local BLOCKS = 128
-- Bytes that a letter takes in Redis beyond its names and values. A larger one than SMALL has a block of memory of its
-- own, and jemalloc has four sizes of blocks between a power of two and the next (observed).
local PER_LETTER, SMALL = 200, 4096
-- Letters without books of which the user may not ask number and size (XLEN, MEMORY USAGE): as many are kept.
local UNKNOWN = 256

local function milliseconds(id)
  return tonumber(string.match(id, '^%d+'))
end

-- A block goes once all of its letters are too old: it has letters of one part of `max_age`, from `id` on. Of an adopted one
-- the age is not known (0) where TIME was not permitted.
local function is_too_old(id, max_age, now)
  return milliseconds(id) > 0 and milliseconds(id) + max_age * (1 + 1 / BLOCKS) < now
end

-- The bytes that a letter takes, by its names and values.
local function size_of(values, from, till)
  local size = PER_LETTER
  for i = from, till do
    size = size + #values[i]
  end
  if size > SMALL then
    local _, exponent = math.frexp(size)
    local step = 2 ^ (exponent - 3)
    size = math.ceil(size / step) * step
  end
  return size
end

-- Return the numbers 'first', 'last', 'count' and 'bytes'; nil without books that this version keeps.
local function read_books(books)
  local known, format = redis.call('HMGET', books, 'first', 'last', 'count', 'bytes', 'format'), nil
  format = known[5]
  for i = 1, 4 do
    known[i] = tonumber(known[i])
  end
  if not format and known[1] and known[2] and known[3] and known[4] then
    return known
  end
end

-- Open the books; return two functions: `add` writes one letter and returns its id, `close` saves the books and returns
-- the numbers of letters that went for each of the bounds: bytes, letters, age; and 1 if others went whose number is not
-- known. `close` comes after one `add` at least. With `keeps` no other letter goes, whatever the bounds are.
local function open_books(stream, books, max_length, max_bytes, max_age, keeps)
  local known = read_books(books)
  local first, last, count, bytes = unpack(known or {1, 0, 0, 0})
  local blocks, gone, trims = {}, {bytes = 0, letters = 0, age = 0, uncounted = 0}, false

  local function block(number)
    if not blocks[number] then
      local text = redis.call('HMGET', books, number)[1] or ''
      local id, letters, size = string.match(text, '^(%S+) (%d+) (%d+)$')
      blocks[number] = {id = id or '0', letters = tonumber(letters) or 0, bytes = tonumber(size) or 0}
    end
    return blocks[number]
  end

  local function save(number)
    local one = block(number)
    redis.call('HSET', books, number, string.format('%s %.0f %.0f', one.id, one.letters, one.bytes))
  end

  local function forget_first(bound)
    local oldest = block(first)
    gone[bound] = gone[bound] + oldest.letters
    count, bytes = count - oldest.letters, bytes - oldest.bytes
    redis.call('HDEL', books, first)
    first, trims = first + 1, true
    if first > last then
      count, bytes = 0, 0
    end
  end

  local time = redis.pcall('TIME')  -- where it is not permitted, the newest block tells the time
  local now = time[1] and time[1] * 1000 + math.floor(time[2] / 1000) or (first <= last and milliseconds(block(last).id)) or 0

  local function adopt()
    local length, size = redis.pcall('XLEN', stream), redis.pcall('MEMORY', 'USAGE', stream, 'SAMPLES', 0)
    if type(length) ~= 'number' or type(size) ~= 'number' then
      length, size, trims, gone.uncounted = UNKNOWN, max_bytes / 2, not keeps, keeps and 0 or 1
    end
    local each = math.ceil(size / math.max(length, 1))
    local kept = keeps and length or math.min(length, max_length, math.floor(max_bytes / 2 / each))
    if kept < length then
      gone[length > max_length and 'letters' or 'bytes'], trims = length - kept, true
    end
    local share = math.max(1, math.ceil(kept / BLOCKS))
    for n = 1, kept, share do
      local letters = math.min(share, kept - n + 1)
      last = last + 1
      blocks[last] = {id = string.format('%.0f', now), letters = letters, bytes = letters * each}
      count, bytes = count + letters, bytes + letters * each
      save(last)
    end
  end

  if redis.call('TYPE', stream).ok == 'none' then
    redis.call('EXPIRE', books, 0)
    first, last, count, bytes, blocks = 1, 0, 0, 0, {}
  elseif not known then
    redis.call('EXPIRE', books, 0)
    adopt()
  end
  while not keeps and first <= last and is_too_old(block(first).id, max_age, now) do
    forget_first('age')
  end

  -- Add the letter in ARGV from `from` to `till`, and trim the letters of the blocks that are forgotten.
  local function write(from, till)
    if not trims then
      return redis.call('XADD', stream, '*', unpack(ARGV, from, till))
    end
    trims = false
    if first <= last and string.find(block(first).id, '-', 1, true) then
      local id = redis.pcall('XADD', stream, 'MINID', '=', block(first).id, '*', unpack(ARGV, from, till))
      if type(id) == 'string' then
        return id
      end  -- before Redis 6.2 there is no MINID
    end
    return redis.call('XADD', stream, 'MAXLEN', string.format('%.0f', count + 1), '*', unpack(ARGV, from, till))
  end

  local function add(from, till)
    local size = size_of(ARGV, from, till)
    while not keeps and first <= last and (count >= max_length or bytes + size > max_bytes) do
      forget_first(count >= max_length and 'letters' or 'bytes')
    end
    local id = write(from, till)
    local newest = first <= last and block(last)
    if not newest or newest.letters >= math.floor(max_length / BLOCKS) or newest.bytes >= max_bytes / BLOCKS
      or milliseconds(id) - milliseconds(newest.id) >= max_age / BLOCKS then
      if newest then
        save(last)
      end
      last = last + 1
      newest = {id = id, letters = 0, bytes = 0}
      blocks[last] = newest
    end
    newest.letters, newest.bytes = newest.letters + 1, newest.bytes + size
    count, bytes = count + 1, bytes + size
    return id
  end

  local function close()
    save(last)
    redis.call('HSET', books, 'first', first, 'last', last, 'count', count, 'bytes', bytes)
    return gone.bytes, gone.letters, gone.age, gone.uncounted
  end

  return add, close
end

