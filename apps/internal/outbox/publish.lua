-- Adds entries to a stream, unless the stream has lost entries: a new entry would hide
-- the loss. Check and addition are one step, because the stream may be lost at any
-- moment.
--
-- KEYS[1]          the stream
-- ARGV[1], ARGV[2] the newest known id: milliseconds, counter
-- ARGV[3]          the number of names and values of an entry
-- ARGV[4] ...      the names and values of all entries
--
-- Returns the last id of the stream before the call, then for each entry its id or
-- the error. If the stream has lost entries, it returns only the last id.
local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
    end
  end
end

local ms, seq = last:match('^(%d+)-(%d+)$')
ms, seq = tonumber(ms), tonumber(seq)
local known_ms, known_seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply = {last}
if ms < known_ms or (ms == known_ms and seq < known_seq) then
  return reply
end

local width = math.max(tonumber(ARGV[3]), 1) -- 0 without entries, which would be an endless loop
for i = 4, #ARGV, width do
  local added = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, i, i + width - 1))
  if type(added) == 'table' then
    added = added.err
  end
  reply[#reply + 1] = added
end
return reply
