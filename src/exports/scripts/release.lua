-- ARGV: fence.
if is_latest(ARGV[1]) then
  -- What its holder has sent and given up writes nothing any more.
  redis.call('HINCRBY', state, 'fence', 1)
  redis.call('HDEL', state, 'until', 'asked', 'asked_last')
end
return 1
