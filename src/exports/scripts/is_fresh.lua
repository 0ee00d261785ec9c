-- ARGV: job, how long files live. Returns 1 when its plan was written less than that ago.
local at = redis.call('ZSCORE', written, ARGV[1])
return at and now - tonumber(at) < tonumber(ARGV[2]) and 1 or 0
