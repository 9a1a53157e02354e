-- Removes consumers that no longer run. A consumer with pending entries stays, because
-- its removal would lose them.
-- KEYS: the stream. ARGV: group, minimum idle time in milliseconds. Returns the number.
local removed = 0
-- Without the stream or the group, XINFO returns an error instead of the list.
for _, consumer in ipairs(redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local is = {}
  for i = 1, #consumer, 2 do
    is[consumer[i]] = consumer[i + 1]
  end
  if is.pending == 0 and is.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], is.name)
    removed = removed + 1
  end
end
return removed
