-- ARGV: fence, job. Returns 0 when another has the lease by now.
if not is_latest(ARGV[1]) then
  return 0
end
redis.call('HDEL', plans, ARGV[2])
-- A plan that was set aside is withheld for as long as OpenEMR may have files of it.
if redis.call('HEXISTS', damaged, ARGV[2]) == 0 then
  redis.call('ZREM', written, ARGV[2])
end
redis.call('SREM', marked, ARGV[2])
redis.call('HINCRBY', state, 'changes', 1)
return 1
