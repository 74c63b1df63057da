-- Takes letters out of the stream, and out of the books by which it stays within its bounds. It follows `permissions.lua`
-- and `dead_letters.lua`, and `retry.lua` or `purge.lua` follows, in the same script.

local STREAM, BOOKS = KEYS[1], KEYS[2]
-- With more blocks than this, those that are empty go; the books have BLOCKS of them where nothing is taken out.
local MAX_BLOCKS = 4 * BLOCKS

-- A broken key of the dead letters' own is told from one of a queue by its code.
local function broken_letters()
  local wrong = must_be(STREAM, 'stream') or must_be(BOOKS, 'hash')
  return wrong and redis.error_reply('DEADLETTERS ' .. wrong.err)
end

-- The first write: a Redis that refuses writes (OOM, READONLY, MISCONF) refuses this one, before any effect.
local refused
local function begin(id)
  refused = redis.pcall('HSET', BOOKS, 'removed', id)
  refused = type(refused) == 'table' and refused.err or nil
end

-- Then the permissions, as in `enqueue.lua`: before 7.0 each command is tried on the books, a hash, where it has no effect.
local function must_run(command, key, ...)
  local permitted
  if redis.acl_check_cmd then
    permitted = redis.acl_check_cmd(command, key, ...)
  else
    local reply = redis.pcall(command, BOOKS, ...)
    permitted = not is_denial(type(reply) == 'table' and tostring(reply.err) or '')
  end
  if not permitted and not refused then
    refused = say_denial(command, key)
  end
end

local function may_remove()
  must_run('XDEL', STREAM, '0-1')
  must_run('HMGET', BOOKS, '')
  must_run('HDEL', BOOKS, '')
end

local function is_later(id, other)
  local major, minor = string.match(id, '^(%d+)-?(%d*)$')
  local other_major, other_minor = string.match(other, '^(%d+)-?(%d*)$')
  major, other_major = tonumber(major) or 0, tonumber(other_major) or 0
  if major == other_major then
    return (tonumber(minor) or 0) > (tonumber(other_minor) or 0)
  end
  return major > other_major
end

-- Read the books; return functions: `remove` takes an entry out of stream and books, `save` writes the books.
local function open_for_removal()
  local first, last, count, bytes = unpack(read_books(BOOKS) or {})
  local blocks, changed = {}, {}

  local function block(number)
    if not blocks[number] then
      local text = redis.call('HMGET', BOOKS, number)[1] or ''
      local id, letters, size = string.match(text, '^(%S+) (%d+) (%d+)$')
      blocks[number] = {id = id or '0', letters = tonumber(letters) or 0, bytes = tonumber(size) or 0}
    end
    return blocks[number]
  end

  local function write(number, one)
    redis.call('HSET', BOOKS, number, string.format('%s %.0f %.0f', one.id, one.letters, one.bytes))
  end

  -- The block that holds a letter: the last one that does not begin behind it. Adopted blocks, whose ids are only times, come
  -- first, and nobody knows which of them it is.
  local function find(id)
    local low, high = first, last
    while low < high do
      local middle = math.ceil((low + high) / 2)
      local start = block(middle).id
      if not string.find(start, '-', 1, true) or not is_later(start, id) then
        low = middle
      else
        high = middle - 1
      end
    end
    while low > first and block(low).letters == 0 do
      low = low - 1
    end
    return low
  end

  local function remove(entry)
    if redis.call('XDEL', STREAM, entry[1]) == 0 or not first or first > last then
      return
    end
    local number = find(entry[1])
    local one = block(number)
    if one.letters == 0 then
      return
    end
    local is_adopted = not string.find(one.id, '-', 1, true)
    local size = is_adopted and math.floor(one.bytes / one.letters) or size_of(entry[2], 1, #entry[2])
    size = one.letters == 1 and one.bytes or math.min(size, one.bytes)
    one.letters, one.bytes = one.letters - 1, one.bytes - size
    count, bytes, changed[number] = math.max(count - 1, 0), math.max(bytes - size, 0), true
  end

  local function compact()
    local kept = {}
    for number = first, last do
      if block(number).letters > 0 then
        kept[#kept + 1] = block(number)
      end
      redis.call('HDEL', BOOKS, number)
    end
    for n, one in ipairs(kept) do
      write(last + n, one)
    end
    first, last, changed = last + 1, last + #kept, {}
  end

  local function save()
    if not first then
      return
    end
    while first <= last and block(first).letters == 0 do
      redis.call('HDEL', BOOKS, first)
      changed[first], first = nil, first + 1
    end
    if last - first > MAX_BLOCKS then
      compact()
    end
    for number in pairs(changed) do
      write(number, block(number))
    end
    redis.call('HSET', BOOKS, 'first', first, 'last', last, 'count', count, 'bytes', bytes)
  end

  return remove, save
end
