-- Adds entries to a stream, unless the stream has lost what it is known to have
-- had: then nothing may hide that by being added. Check and addition are one
-- step, since the stream may be lost at any moment.
--
-- KEYS[1]          the stream
-- ARGV[1], ARGV[2] the newest id it is known to have given: milliseconds, counter
-- ARGV[3]          how many names and values an entry has
-- ARGV[4] ...      the names and values of one entry after the other
--
-- Returns the last id that the stream had given before, then for each entry its
-- id or why it was not added; where the stream was lost, nothing but the first.
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
local answer = {last}
if ms < known_ms or (ms == known_ms and seq < known_seq) then
  return answer
end

local width = math.max(tonumber(ARGV[3]), 1) -- of no entries it is 0: a step that never ends
for i = 4, #ARGV, width do
  local added = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, i, i + width - 1))
  if type(added) == 'table' then
    added = added.err
  end
  answer[#answer + 1] = added
end
return answer
