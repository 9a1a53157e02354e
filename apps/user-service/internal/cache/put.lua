-- Sets KEYS[1] to ARGV[2] for ARGV[3] ms, unless it contains an entry newer than
-- version ARGV[1]. A malformed entry is overwritten. Returns 1 if it was set.
local held = redis.call('GET', KEYS[1])
if held then
  local isJSON, entry = pcall(cjson.decode, held)
  if isJSON and type(entry) == 'table' and (tonumber(entry.version) or 0) > tonumber(ARGV[1]) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
