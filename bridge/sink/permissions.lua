-- How a denied command is known and said, and a key of a wrong type. A script that writes follows: `probe.lua`, `enqueue.lua`, or
-- one of `bridge/dead_letters/`.

-- Redis before 7.2, later ones, and others.
local DENIALS = {"The user executing the script can't", 'ACL failure in script', 'NOPERM'}

local function is_denial(refusal)
  for _, denial in ipairs(DENIALS) do
    if string.find(refusal, denial, 1, true) then
      return true
    end
  end
  return false
end

local function say_denial(command, key)
  return 'NOPERM the user may not run ' .. command .. ' on ' .. key
end

-- Return the error of a key that holds another type, nil otherwise.
local function must_be(key, kind)
  local actual = redis.call('TYPE', key).ok
  if actual ~= 'none' and actual ~= kind then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. actual .. ', not a ' .. kind)
  end
end

