#!lua flags=allow-oom
-- KEYS 1      the fence
--      2      the channel of events (no key)
--      3..    the keys whose rows are counted, all of them
--      13..   what else is written
-- ARGV 1      epoch          2 nonce     3 lineage
--      4      seq of this batch          5 seq before it
--      6      digest of this batch       7 digest before it
--      8      last identifier issued     9 length of the lease in ms
--      10     events, or empty
--      11     how many of the counted keys are written to; then the place of each in KEYS
--      then   the type that each of KEYS 13.. must have, in their order
--             ('any': what is done to it looks for itself)
--      then   steps: command, place in KEYS, number of arguments, arguments; beside Redis's own
--             commands
--        TAKE entry ...                      removes these entries of a list, oldest (rightmost) first
--        CUT length beginning place most bytes line
--                                            removes the oldest entry of that length that begins so,
--                                            and tells the list in that place what it was
--        TELL most ms value ...              pushes to a list of at most so many, which lives at least
--                                            so long (0: for ever); does nothing to a key that is no list
-- Every reply begins with a word, the nonce and the seq of the request, then:
--      DONE                   all is written
--      ALREADY                this very batch was written before
--      FENCED holder epoch    another holds the fence
--      GONE                   there is no fence
--      LINEAGE found          the fence is one of other data
--      SEQ seq digest         the stored state is not the one that the batch was made for
--      ROWS key found wanted ...
--                             keys have lost or gained rows since the batch before: those that are
--                             written to are counted, of all others it is seen whether they are there
--      TYPE key found wanted  a key has a wrong type
--      NOPERM command key     the ACL forbids what is needed
-- Only DONE has written anything: what can fail is asked first.
local fence, nonce, seq = KEYS[1], ARGV[2], ARGV[4]

local function is_list(key) return redis.call('TYPE', key).ok == 'list' end

local function tell(key, most, ms, ...)
  if not is_list(key) and redis.call('EXISTS', key) == 1 then return end
  redis.call('LPUSH', key, ...)
  redis.call('LTRIM', key, 0, most - 1)
  if ms ~= '0' and redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, ms) end
end

-- Nearly always they are the right end. If they are not, each is searched for from there, and one
-- that somebody else removed is gone.
local function take(key, from, to)
  if not is_list(key) then return end
  local last, same = redis.call('LRANGE', key, from - to - 1, -1), 0
  while from + same <= to and last[#last - same] == ARGV[from + same] do same = same + 1 end
  if same > 0 then redis.call('LTRIM', key, 0, -1 - same) end
  for at = from + same, to do redis.call('LREM', key, -1, ARGV[at]) end
end

-- Nearly always it is the right end, too; others may have pushed there since.
local function cut(key, length, beginning, place, most, bytes, line)
  if not is_list(key) then return end
  for at = 1, 10000 do
    local entry = redis.call('LINDEX', key, -at)
    if not entry then return end
    if #entry == tonumber(length) and string.sub(entry, 1, #beginning) == beginning then
      redis.call('LREM', key, -1, entry)
      tell(KEYS[tonumber(place)], most, '0', line .. string.sub(entry, 1, tonumber(bytes)))
      return
    end
  end
end

local written, fields, first = tonumber(ARGV[11]), {}, 3 + #ROWS
for at = 1, written do fields[at] = ROWS[ARGV[11 + at] - 2] end
local types = 12 + written
local steps = types + #KEYS - first + 1

local OWN = {TAKE = {'LRANGE', 'LTRIM', 'LREM'}, CUT = {'LINDEX', 'LREM', 'LPUSH', 'LTRIM'},
  TELL = {'LPUSH', 'LTRIM', 'PTTL', 'PEXPIRE'}}

-- What of all that is to be done is forbidden.
local function forbidden_here()
  local no = forbidden(fence, 'TYPE', 'HMGET', 'EXISTS', 'HLEN', 'TIME', 'HSET')
    or ARGV[10] ~= '' and forbidden(KEYS[2], 'PUBLISH')
  local at, asked = steps, {}
  while not no and at <= #ARGV do
    local command = ARGV[at]
    if not asked[command] then
      asked[command] = true
      no = forbidden(KEYS[tonumber(ARGV[at + 1])], unpack(OWN[command] or {command}))
    end
    at = at + 3 + ARGV[at + 2]
  end
  return no
end

local no = forbidden_here()
if no then return {'NOPERM', nonce, seq, unpack(no)} end

local kind = redis.call('TYPE', fence).ok
if kind == 'none' then return {'GONE', nonce, seq} end
if kind ~= 'hash' then return {'TYPE', nonce, seq, fence, kind, 'hash'} end
local row = redis.call('HMGET', fence, 'epoch', 'nonce', 'lineage', 'seq', 'digest', 'holder',
  'keys', unpack(fields))
if row[3] ~= ARGV[3] then return {'LINEAGE', nonce, seq, row[3] or ''} end
if row[1] ~= ARGV[1] or row[2] ~= nonce then
  return {'FENCED', nonce, seq, row[6] or '', row[1] or ''}
end
if row[4] == seq and row[5] == ARGV[6] then return {'ALREADY', nonce, seq} end
if row[4] ~= ARGV[5] or row[5] ~= ARGV[7] then
  return {'SEQ', nonce, seq, row[4] or '', row[5] or ''}
end
local keys, rows = tonumber(row[7] or ''), {}
local same = redis.call('EXISTS', unpack(KEYS, 3, first - 1)) == keys
for at = 1, written do
  local place, wrong = tonumber(ARGV[11 + at])
  rows[place], wrong = count(KEYS[place])
  if wrong then return {'TYPE', nonce, seq, unpack(wrong)} end
  same = same and rows[place] == tonumber(row[7 + at] or '')
  if rows[place] > 0 then keys = (keys or 0) - 1 end
end
if not same then
  local apart, wrong = count_all(fence, 3)
  if not apart then return {'TYPE', nonce, seq, unpack(wrong)} end
  return {'ROWS', nonce, seq, unpack(apart)}
end
for at = first, #KEYS do
  local found, wanted = redis.call('TYPE', KEYS[at]).ok, ARGV[types + at - first]
  if found ~= 'none' and found ~= wanted and wanted ~= 'any' then
    return {'TYPE', nonce, seq, KEYS[at], found, wanted}
  end
end
local at = steps
while at <= #ARGV do
  local command, place = ARGV[at], tonumber(ARGV[at + 1])
  local key = KEYS[place]
  local from, to = at + 3, at + 2 + tonumber(ARGV[at + 2])
  if command == 'TAKE' then
    take(key, from, to)
  elseif command == 'CUT' then
    cut(key, unpack(ARGV, from, to))
  elseif command == 'TELL' then
    tell(key, unpack(ARGV, from, to))
  else
    local changed = redis.call(command, key, unpack(ARGV, from, to))
    -- To these, rows are added by HSET and taken away by HDEL.
    if place < first then rows[place] = rows[place] + (command == 'HSET' and changed or -changed) end
  end
  at = to + 1
end
local now = redis.call('TIME')
local deadline = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[9]
local said = {}
for at = 1, written do
  local left = rows[tonumber(ARGV[11 + at])]
  if left > 0 then keys = keys + 1 end
  said[2 * at - 1], said[2 * at] = fields[at], left
end
redis.call('HSET', fence, 'seq', seq, 'digest', ARGV[6], 'last', ARGV[8],
  'deadline', string.format('%.0f', deadline), 'keys', keys, unpack(said))
if ARGV[10] ~= '' then redis.call('PUBLISH', KEYS[2], ARGV[10]) end
return {'DONE', nonce, seq}
