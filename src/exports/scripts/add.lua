-- ARGV: life, job, plan, the number of changes that the list had, a job to mark or ''. Returns 0 when the list has changed.
if (redis.call('HGET', state, 'changes') or '0') ~= ARGV[4] then
  return 0
end
if ARGV[5] ~= '' then
  redis.call('SADD', marked, ARGV[5])
end
redis.call('HSET', plans, ARGV[2], ARGV[3])
redis.call('ZADD', written, now, ARGV[2])
redis.call('HINCRBY', state, 'changes', 1)
keep(ARGV[1])
return 1
