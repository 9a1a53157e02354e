-- Moves an entry to the dead letters if it was delivered often enough: atomically
-- and once, even if other consumers handle it, too.
-- KEYS: the stream, the dead letters. ARGV: group, id of the entry, number of
-- deliveries, number of dead letters to keep (0: none), reason, time.
-- Returns the number of deliveries (0: the entry is acknowledged) and 1 if it was moved.
local group, id = ARGV[1], ARGV[2]
local pending = redis.call('XPENDING', KEYS[1], group, id, id, 1)[1]
if not pending then
  return {0, 0}
end
local deliveries = pending[4]
if deliveries < tonumber(ARGV[3]) then
  return {deliveries, 0}
end
local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
if not entry then -- the entry was trimmed
  redis.call('XACK', KEYS[1], group, id)
  return {deliveries, 0}
end
local fields = entry[2]
while #fields > 2000 do -- the limit of unpack is a few thousand; events have only a few
  table.remove(fields)
end
for _, field in ipairs({
  'dead_id', id, 'dead_group', group, 'dead_deliveries', deliveries, 'dead_reason', ARGV[5], 'dead_at', ARGV[6],
}) do
  fields[#fields + 1] = field
end
if tonumber(ARGV[4]) > 0 then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', unpack(fields))
end
redis.call('XACK', KEYS[1], group, id)
return {deliveries, 1}
