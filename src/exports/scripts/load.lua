-- ARGV: job. Returns whether it is marked, and its plan.
return { redis.call('SISMEMBER', marked, ARGV[1]), redis.call('HGET', plans, ARGV[1]) }
