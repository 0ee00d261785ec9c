-- ARGV: life, job.
redis.call('SADD', marked, ARGV[2])
redis.call('HINCRBY', state, 'changes', 1)
keep(ARGV[1])
return 1
