#!lua flags=allow-oom
-- KEYS 1    the fence
--      2..  the keys whose rows are counted, all of them
--      12.. further keys that cannot be without the fence
-- ARGV 1    holder          2 nonce, fresh        3 nonce found in the fence, or empty
--      4    schema          5 length of the lease in ms
--      6    lineage for new data                  7 lineage that must be found, or empty
--      8    'yes': rows that were lost or gained are accepted, which were told by ROWS before
--      9    the channel of events, or empty
-- Every reply begins with a word and the fresh nonce, then:
--      HELD epoch seq digest lineage last now key found wanted ...
--                                               the fence is ours; now is Redis's time in ms; what
--                                               was accepted follows
--      BUSY ms holder lineage                   another holds it for so long
--      MOVED nonce                              the nonce found is not the one expected: ask again
--      SCHEMA found                             data of another version
--      LINEAGE found                            other data than expected, or none
--      ORPHANS key                              data without a fence
--      TYPE key found wanted                    a key has a wrong type
--      NOPERM command key                       the ACL forbids what is, or will be, needed
--      ROWS key found wanted ...                keys have lost or gained rows since the last batch
-- Only HELD has written anything. The expected nonce keeps a delayed copy of an earlier attempt
-- from taking the fence away again.
local fence, nonce = KEYS[1], ARGV[2]
-- What this and the other scripts do, and what is done beside them.
local no = forbidden(fence, 'TYPE', 'EXISTS', 'TIME', 'HMGET', 'HLEN', 'HSET', 'HDEL', 'HSCAN', 'DEL',
  'UNLINK', 'PEXPIRE', 'PTTL', 'SADD', 'SREM', 'ZADD', 'ZREM', 'LPUSH', 'LTRIM', 'LRANGE', 'LREM',
  'LINDEX', 'LLEN') or ARGV[9] ~= '' and forbidden(ARGV[9], 'PUBLISH')
if no then return {'NOPERM', nonce, unpack(no)} end
local kind = redis.call('TYPE', fence).ok
if kind ~= 'none' and kind ~= 'hash' then return {'TYPE', nonce, fence, kind, 'hash'} end
local row = redis.call('HMGET', fence, 'epoch', 'nonce', 'holder', 'deadline', 'schema', 'lineage',
  'seq', 'digest', 'last')
if (row[2] or '') ~= ARGV[3] then return {'MOVED', nonce, row[2] or ''} end
if ARGV[7] ~= '' and row[6] ~= ARGV[7] then return {'LINEAGE', nonce, row[6] or ''} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if kind == 'none' then
  for at = 2, #KEYS do
    if redis.call('EXISTS', KEYS[at]) == 1 then return {'ORPHANS', nonce, KEYS[at]} end
  end
  row = {'0', '', '', '0', ARGV[4], ARGV[6], '0', '', ''}
end
if row[5] ~= ARGV[4] then return {'SCHEMA', nonce, row[5] or ''} end
local left = (tonumber(row[4] or '') or 0) - now
if left > 0 and row[3] ~= ARGV[1] then
  return {'BUSY', nonce, string.format('%.0f', left), row[3] or '', row[6] or ''}
end
local apart, same, rows = count_all(fence, 2)
if not apart then return {'TYPE', nonce, unpack(same)} end
if kind == 'none' then apart, same = {}, true end
if not same and ARGV[8] ~= 'yes' then return {'ROWS', nonce, unpack(apart)} end
local epoch = string.format('%.0f', math.max((tonumber(row[1] or '') or 0) + 1, now))
redis.call('HSET', fence, 'epoch', epoch, 'nonce', nonce, 'holder', ARGV[1],
  'deadline', string.format('%.0f', now + ARGV[5]), 'schema', ARGV[4], 'lineage', row[6] or '',
  'seq', row[7] or '', 'digest', row[8] or '', 'last', row[9] or '',
  unpack(rows))
return {'HELD', nonce, epoch, row[7] or '', row[8] or '', row[6] or '', row[9] or '',
  string.format('%.0f', now), unpack(apart)}
