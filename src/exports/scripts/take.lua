-- ARGV: life, how long a lease runs, how long its holder comes first after that. Returns the fencing number, or 0 while another has it.
local till = tonumber(redis.call('HGET', state, 'until'))
if till then
  -- The clock may have been set back.
  if till > now + tonumber(ARGV[2]) then
    till = now + tonumber(ARGV[2])
    redis.call('HSET', state, 'until', till)
  end
  if now < till then
    return 0
  end
  -- Its holder may have been cut off, as all gateways are while the store is away: it renews before another gets the lease.
  -- A gateway that was cut off as well begins to ask anew.
  local asked = tonumber(redis.call('HGET', state, 'asked'))
  local last = tonumber(redis.call('HGET', state, 'asked_last'))
  redis.call('HSET', state, 'asked_last', now)
  if not asked or asked > now or (last and now - last > 3000) then
    asked = now
    redis.call('HSET', state, 'asked', asked)
  end
  if now < asked + tonumber(ARGV[3]) then
    return 0
  end
end
-- A time in microseconds, so that it is above all earlier ones also after the store has lost its data.
local fence = math.max((tonumber(redis.call('HGET', state, 'fence')) or 0) + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('HSET', state, 'fence', string.format('%.0f', fence))
redis.call('HDEL', state, 'write')
extend(ARGV[2])
for _, job in ipairs(redis.call('ZRANGEBYSCORE', written, '-inf', now - tonumber(ARGV[1]))) do
  redis.call('HDEL', plans, job)
  redis.call('HDEL', damaged, job)
  redis.call('SREM', marked, job)
  redis.call('ZREM', written, job)
end
keep(ARGV[1])
return fence
