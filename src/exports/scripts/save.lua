-- ARGV: life, fence, how long a lease runs, job, plan, the number of the write. Returns 0 when another has the lease by now, or the
-- plan is gone; also for a write that comes after a later one of the same holder: it was given up and sent again.
if not is_latest(ARGV[2]) or redis.call('HEXISTS', plans, ARGV[4]) == 0 then
  return 0
end
if tonumber(ARGV[6]) <= tonumber(redis.call('HGET', state, 'write') or 0) then
  return 0
end
redis.call('HSET', state, 'write', ARGV[6])
extend(ARGV[3])
redis.call('HSET', plans, ARGV[4], ARGV[5])
redis.call('ZADD', written, now, ARGV[4])
keep(ARGV[1])
return 1
