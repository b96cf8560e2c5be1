#!lua flags=allow-oom
-- KEYS 1      the fence
--      2      the channel of events (no key)
--      3..    what is written
-- ARGV 1      epoch          2 nonce     3 lineage
--      4      seq of this batch          5 seq before it
--      6      digest of this batch       7 digest before it
--      8      last identifier issued     9 length of the lease in ms
--      10     events, or empty
--      11..   the type that each of KEYS 3.. must have, in their order
--      then   steps: command, place in KEYS, number of arguments, arguments
-- Every reply begins with a word, the nonce and the seq of the request, then:
--      DONE                   all is written
--      ALREADY                this very batch was written before
--      FENCED holder epoch    another holds the fence
--      GONE                   there is no fence
--      LINEAGE found          the fence is one of other data
--      SEQ seq digest         the stored state is not the one that the batch was made for
--      TYPE key found wanted  a key has a wrong type
-- Only DONE has written anything: what can fail is asked first.
local fence, nonce, seq = KEYS[1], ARGV[2], ARGV[4]
local kind = redis.call('TYPE', fence).ok
if kind == 'none' then return {'GONE', nonce, seq} end
if kind ~= 'hash' then return {'TYPE', nonce, seq, fence, kind, 'hash'} end
local row = redis.call('HMGET', fence, 'epoch', 'nonce', 'lineage', 'seq', 'digest', 'holder')
if row[3] ~= ARGV[3] then return {'LINEAGE', nonce, seq, row[3] or ''} end
if row[1] ~= ARGV[1] or row[2] ~= nonce then
  return {'FENCED', nonce, seq, row[6] or '', row[1] or ''}
end
if row[4] == seq and row[5] == ARGV[6] then return {'ALREADY', nonce, seq} end
if row[4] ~= ARGV[5] or row[5] ~= ARGV[7] then
  return {'SEQ', nonce, seq, row[4] or '', row[5] or ''}
end
for at = 3, #KEYS do
  local found, wanted = redis.call('TYPE', KEYS[at]).ok, ARGV[8 + at]
  if found ~= 'none' and found ~= wanted then
    return {'TYPE', nonce, seq, KEYS[at], found, wanted}
  end
end
local at = 9 + #KEYS
while at <= #ARGV do
  local count = tonumber(ARGV[at + 2])
  redis.call(ARGV[at], KEYS[tonumber(ARGV[at + 1])], unpack(ARGV, at + 3, at + 2 + count))
  at = at + 3 + count
end
local now = redis.call('TIME')
local deadline = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[9]
redis.call('HSET', fence, 'seq', seq, 'digest', ARGV[6], 'last', ARGV[8],
  'deadline', string.format('%.0f', deadline))
if ARGV[10] ~= '' then redis.call('PUBLISH', KEYS[2], ARGV[10]) end
return {'DONE', nonce, seq}
