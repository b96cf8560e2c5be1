#!lua flags=allow-oom
-- KEYS 1  the fence              2 the inbox
--      3.. the keys whose rows are counted, all of them
-- ARGV 1  epoch    2 nonce    3 lineage
--      4  length of the lease in ms; 0 gives it back
-- Every reply begins with a word and the nonce, then:
--      DONE seq digest count  the lease runs on from now; the last batch; the entries of the inbox,
--                             nothing if it is no list
--      FENCED holder epoch    another holds the fence
--      GONE                   there is no fence
--      LINEAGE found          the fence is one of other data
--      TYPE key found wanted  a key has a wrong type
--      NOPERM command key     the ACL forbids what is needed
--      ROWS key found wanted ...
--                             keys have lost or gained rows since the last batch
-- Only DONE has written anything.
local fence, nonce = KEYS[1], ARGV[2]
local no = forbidden(fence, 'TYPE', 'HMGET', 'HLEN', 'TIME', 'HSET', 'LLEN')
if no then return {'NOPERM', nonce, unpack(no)} end
local kind = redis.call('TYPE', fence).ok
if kind == 'none' then return {'GONE', nonce} end
if kind ~= 'hash' then return {'TYPE', nonce, fence, kind, 'hash'} end
local row = redis.call('HMGET', fence, 'epoch', 'nonce', 'lineage', 'seq', 'holder',
  'digest')
if row[3] ~= ARGV[3] then return {'LINEAGE', nonce, row[3] or ''} end
if row[1] ~= ARGV[1] or row[2] ~= nonce then
  return {'FENCED', nonce, row[5] or '', row[1] or ''}
end
local deadline = 0
if ARGV[4] ~= '0' then
  local apart, same = count_all(fence, 3)
  if not apart then return {'TYPE', nonce, unpack(same)} end
  if not same then return {'ROWS', nonce, unpack(apart)} end
  local now = redis.call('TIME')
  deadline = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[4]
end
redis.call('HSET', fence, 'deadline', string.format('%.0f', deadline))
local inbox, count = redis.call('TYPE', KEYS[2]).ok, ''
if inbox == 'none' then count = '0' end
if inbox == 'list' then count = string.format('%.0f', redis.call('LLEN', KEYS[2])) end
return {'DONE', nonce, row[4] or '', row[6] or '', count}
