-- What the scripts share that guard rows. The keys that must not lose one unseen are given next to
-- each other, in this order; the fence holds how many rows each had after the last batch.
local COUNTED = 10
local COUNTS = 'tasks=%d state=%d dead=%d holds=%d queues=%d workers=%d stats=%d runs=%d crons=%d '
  .. 'buckets=%d'

-- The rows of each key, from the first one's place in KEYS on; else what follows TYPE in a reply.
local function count(first)
  local counts = {}
  for at = 1, COUNTED do
    local key = KEYS[first + at - 1]
    local rows = redis.pcall('HLEN', key)
    if type(rows) ~= 'number' then return nil, {key, redis.call('TYPE', key).ok, 'hash'} end
    counts[at] = rows
  end
  return counts
end

-- As the fence holds them.
local function spell(counts) return string.format(COUNTS, unpack(counts)) end

-- Adds to a reply, of each key that has other rows than the fence says: key, rows found, rows wanted.
local function tell_apart(reply, first, counts, held)
  local at = 0
  for wanted in string.gmatch(held or '', '=(%d+)') do
    at = at + 1
    local found = string.format('%d', counts[at] or 0)
    if found ~= wanted and at <= COUNTED then
      for _, word in ipairs({KEYS[first + at - 1], found, wanted}) do reply[#reply + 1] = word end
    end
  end
  return reply
end

