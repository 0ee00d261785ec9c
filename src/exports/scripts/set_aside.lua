-- ARGV: life, job.
local plan = redis.call('HGET', plans, ARGV[2])
if plan then
  redis.call('HSET', damaged, ARGV[2], plan)
  redis.call('HDEL', plans, ARGV[2])
  redis.call('HINCRBY', state, 'changes', 1)
  keep(ARGV[1])
end
return 1
