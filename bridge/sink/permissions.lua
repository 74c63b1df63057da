-- How a denied command is known, and said. `probe.lua` or `enqueue.lua` follows in the same script.

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

