#!lua flags=no-writes,allow-oom
-- KEYS 1  the fence
--      2  the inbox           3 its refused entries
-- ARGV 1  epoch    2 nonce    3 lineage    4 seq of the last batch    5 its digest
--      6  entries at most     7 bytes of them together at most, or else one
--      8  bytes of an entry beyond which it is not read
--      9  bytes of the beginning of such an entry
-- Every reply begins with a word and the nonce, then:
--      FOUND entry ...          the next entries, oldest first
--      LARGE length beginning   the next entry is too long
--      KIND key found           a key is no list
--      OTHER                    the fence is not as it was left: ask there first
-- Nothing is written.
local nonce = ARGV[2]
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return {'OTHER', nonce} end
local row = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'lineage', 'seq', 'digest')
for at = 1, 5 do
  if row[at] ~= ARGV[at] then return {'OTHER', nonce} end
end
for at = 2, 3 do
  local kind = redis.call('TYPE', KEYS[at]).ok
  if kind ~= 'none' and kind ~= 'list' then return {'KIND', nonce, KEYS[at], kind} end
end
local reply, bytes = {'FOUND', nonce}, 0
for at = 1, tonumber(ARGV[6]) do
  local entry = redis.call('LINDEX', KEYS[2], -at)
  if not entry then break end
  if #entry > tonumber(ARGV[8]) then
    if at > 1 then break end
    local length = string.format('%.0f', #entry)
    return {'LARGE', nonce, length, string.sub(entry, 1, tonumber(ARGV[9]))}
  end
  bytes = bytes + #entry
  if at > 1 and bytes > tonumber(ARGV[7]) then break end
  reply[at + 2] = entry
end
return reply
