-- What the scripts share that write. The keys that must not lose one unseen stand next to each
-- other in KEYS, in this order; the fence holds in these fields how many rows each had after the last
-- batch, and in `keys` how many of them there were.
local ROWS = {'rows:tasks', 'rows:state', 'rows:dead', 'rows:holds', 'rows:queues', 'rows:workers',
  'rows:stats', 'rows:runs', 'rows:crons', 'rows:buckets'}

-- Of these commands the first that the user may not give to a key: what follows NOPERM in a reply. A
-- script asks before it does anything, since an error later on would leave it half done.
local function forbidden(key, ...)
  for _, command in ipairs({...}) do
    if not redis.acl_check_cmd(command, key) then return {command, key} end
  end
end

-- The rows of a key; or else what follows TYPE in a reply.
local function count(key)
  local rows = redis.pcall('HLEN', key)
  if type(rows) == 'number' then return rows end
  return nil, {key, redis.call('TYPE', key).ok, 'hash'}
end

-- Counts all of them, from the first one's place in KEYS on: of each that has other rows than the
-- fence says, key, rows found, rows wanted; whether all is as the fence says; and what the fence is to
-- say. Or else what follows TYPE in a reply.
local function count_all(fence, first)
  local held = redis.call('HMGET', fence, 'keys', unpack(ROWS))
  local apart, fields, keys = {}, {}, 0
  for at, field in ipairs(ROWS) do
    local key = KEYS[first + at - 1]
    local rows, wrong = count(key)
    if not rows then return nil, wrong end
    if rows > 0 then keys = keys + 1 end
    local found = string.format('%d', rows)
    fields[2 * at - 1], fields[2 * at] = field, found
    if found ~= held[at + 1] then
      for _, word in ipairs({key, found, held[at + 1] or '?'}) do apart[#apart + 1] = word end
    end
  end
  fields[#fields + 1], fields[#fields + 2] = 'keys', keys
  return apart, #apart == 0 and tostring(keys) == held[1], fields
end

