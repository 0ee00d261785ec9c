-- ARGV: fence, how long a lease runs. Returns 0 when another has it by now.
if not is_latest(ARGV[1]) then
  return 0
end
extend(ARGV[2])
return 1
