-- What all scripts begin with. The keys of a site: its state (fence, write, until, asked, asked_last, changes), the plans by job, when each was written,
-- the marks of deletion, and the plans that could not be read.
local state, plans, written, marked, damaged = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
-- Milliseconds since 1970, by the clock of the store.
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Whether the lease with this fencing number is the latest that was given.
local function is_latest(fence)
  return redis.call('HGET', state, 'fence') == fence
end

-- Lets the lease run for so long from now.
local function extend(lease)
  redis.call('HSET', state, 'until', now + tonumber(lease))
  redis.call('HDEL', state, 'asked', 'asked_last')
end

-- Nothing outlives gateways that were given up.
local function keep(life)
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, life)
  end
end

