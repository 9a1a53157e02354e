-- Moves dead letters back into their stream, without the fields added by deadletter.lua.
-- KEYS: the dead letters, the stream. ARGV: the maximum number. Returns the number.
local letters = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])
for _, letter in ipairs(letters) do
  local fields = {}
  for i = 1, #letter[2], 2 do
    if string.sub(letter[2][i], 1, 5) ~= 'dead_' then
      fields[#fields + 1] = letter[2][i]
      fields[#fields + 1] = letter[2][i + 1]
    end
  end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
  redis.call('XDEL', KEYS[1], letter[1])
end
return #letters
