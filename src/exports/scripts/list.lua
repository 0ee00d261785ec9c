-- ARGV: how long files live. Returns the number of changes, whether a lost plan may have files, the jobs, the marks.
local lost = 0
for _, job in ipairs(redis.call('HKEYS', damaged)) do
  local at = redis.call('ZSCORE', written, job)
  if at and now - tonumber(at) < tonumber(ARGV[1]) then
    lost = 1
  end
end
local changes = tonumber(redis.call('HGET', state, 'changes')) or 0
return { changes, lost, redis.call('HKEYS', plans), redis.call('SMEMBERS', marked) }
