-- What the Redis store does in one step: limits, the ends of calls, leases, keys. One script, a verb a call.
--
-- KEYS[1] is the name that all of ours begin with; it holds a hash tag, so that all lies in one slot.
-- ARGV: the verb, its arguments as JSON, and for tests the time: microseconds of the windows, seconds of Unix time.
--
--   :use:KEY        hash    running; spent DAY and reserved DAY (or a month), in nanodollars
--   :rpm:KEY, :tpm:KEY      sorted set: when a charge began -> when it ends, both in microseconds
--   :rpm:KEY:n, :tpm:KEY:n  hash: when a charge began -> its amount; "sum" -> that of all
--   :leases         sorted set: process -> until when it is taken to live
--   :open:PROCESS   hash: reservation -> what it holds, as MessagePack
--   :void:PROCESS   set: reservations that nobody wants any more, and that may still come
--   :told:PROCESS   sorted set: the ends of calls that were told, by their number
--   :charged        hash: reservation of a dead process -> what was charged for it, as MessagePack
--   :ledger         stream: a row a call, in the field r; its time is that of the entry's id
--   :last           hash: the newest entry's ms and seq
--   :days           sorted set of the days that have sums;  :sums:DAY  hash: "MEASURE [model, key]" -> sum
--   :keys, :digests, :order, :owned:KIND, :owned:KIND:KEY   keys and who made what
--
-- Numbers are doubles: whole ones are exact up to 2^53. They are written by `text`, because tostring rounds them.

local MINUTE, RESOLUTION, LEASE = 60e6, 0.5e6, 15e6
local EXACT = 600            -- charges that are told apart; a larger limit is kept by the half second
local FORGOTTEN = 70 * 86400 -- seconds after which a key that nobody used is forgotten: two months and some
local MOST = 2000            -- reservations of the dead that one step charges

local name = KEYS[1]
local asked = cjson.decode(ARGV[2])
local now, wall
if ARGV[3] then
  now, wall = tonumber(ARGV[3]), tonumber(ARGV[4])
else
  local time = redis.call('TIME')
  now, wall = time[1] * 1e6 + time[2], time[1] + time[2] / 1e6
end

local function text(number)
  return string.format('%.0f', number + 0) -- + 0: there is a -0, which is no integer to Redis
end

local function number(found)
  return tonumber(found or 0) or 0
end

-- The day of Unix time, as year, month, day. (Howard Hinnant's civil_from_days.)
local function civil(seconds)
  local z = math.floor(seconds / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return year, month, day
end

local function period_of(period)
  local year, month, day = civil(wall)
  if period == 'day' then
    return string.format('%04d-%02d-%02d', year, month, day)
  end
  return string.format('%04d-%02d', year, month)
end

-- Windows: what was used within the last minute, each charge at its moment.

local function window(measure, key)
  local line = name .. ':' .. measure .. ':' .. key
  return { line = line, amounts = line .. ':n' }
end

local function drop(one, began)
  if #began == 0 then
    return
  end
  local freed = 0
  for _, amount in ipairs(redis.call('HMGET', one.amounts, unpack(began))) do
    freed = freed + number(amount)
  end
  redis.call('HDEL', one.amounts, unpack(began))
  redis.call('ZREM', one.line, unpack(began))
  redis.call('HINCRBY', one.amounts, 'sum', text(-freed))
end

local function used(one)
  drop(one, redis.call('ZRANGEBYSCORE', one.line, '-inf', text(now)))
  -- Ends that lie so far ahead are of a clock that was set back since.
  drop(one, redis.call('ZRANGEBYSCORE', one.line, '(' .. text(now + 2 * MINUTE), '+inf'))
  return number(redis.call('HGET', one.amounts, 'sum'))
end

local function charge(one, amount, exact)
  used(one)
  if amount == 0 then
    return now
  end
  local newest = redis.call('ZRANGE', one.line, -1, -1, 'WITHSCORES')
  local began, ends = tonumber(newest[1]), number(newest[2])
  local width = redis.call('ZCARD', one.line) >= exact and RESOLUTION or 0
  if not began or now - began > width then
    began, ends = now, 0
  end
  redis.call('ZADD', one.line, text(math.max(ends, now + MINUTE)), text(began))
  redis.call('HINCRBY', one.amounts, text(began), text(amount))
  redis.call('HINCRBY', one.amounts, 'sum', text(amount))
  redis.call('EXPIRE', one.line, 240)
  redis.call('EXPIRE', one.amounts, 240)
  return began
end

local function change(one, began, difference, exact)
  used(one)
  if difference >= 0 then
    charge(one, difference, exact)
  elseif redis.call('HEXISTS', one.amounts, text(began)) == 1 then
    redis.call('HINCRBY', one.amounts, 'sum', text(difference))
    if redis.call('HINCRBY', one.amounts, text(began), text(difference)) == 0 then
      redis.call('HDEL', one.amounts, text(began))
      redis.call('ZREM', one.line, text(began))
    end
  end
end

-- Whole seconds, at least 1, until so much of what counts now counts no more.
local function frees_in(one, amount)
  local all = redis.call('ZRANGE', one.line, 0, -1, 'WITHSCORES')
  for at = 1, #all, 2 do
    amount = amount - number(redis.call('HGET', one.amounts, all[at]))
    if amount <= 0 then
      local ends = tonumber(all[at + 1])
      local seconds = math.max(1, math.floor((ends - now) / 1e6))
      return now + seconds * 1e6 < ends and seconds + 1 or seconds
    end
  end
  return 1
end

local function empties_in(one)
  local last = redis.call('ZRANGE', one.line, -1, -1, 'WITHSCORES')
  return last[2] and math.max(0, math.ceil((tonumber(last[2]) - now) / 1e6)) or 0
end

-- Budgets and places.

local function use_of(key)
  return name .. ':use:' .. key
end

local function add(key, field, difference)
  local use = use_of(key)
  local is_new = redis.call('HEXISTS', use, field) == 0
  redis.call('HINCRBY', use, field, text(difference))
  redis.call('EXPIRE', use, FORGOTTEN)
  if not is_new or string.sub(field, 1, 6) ~= 'spent ' then
    return
  end
  local periods = {}
  for _, other in ipairs(redis.call('HKEYS', use)) do
    if string.sub(other, 1, 6) == 'spent ' then
      periods[#periods + 1] = string.sub(other, 7)
    end
  end
  table.sort(periods)
  for at = 1, #periods - 2 do -- the current one, and the one whose calls are ending, are remembered
    local reserved = 'reserved ' .. periods[at]
    if number(redis.call('HGET', use, reserved)) == 0 then
      redis.call('HDEL', use, 'spent ' .. periods[at], reserved)
    end
  end
end

local function against(limits)
  local period = period_of(limits.period)
  local found = redis.call('HMGET', use_of(limits.key), 'reserved ' .. period, 'spent ' .. period)
  return number(found[1]) + number(found[2])
end

local function exact_of(most)
  return most and most > EXACT and 0 or EXACT
end

-- Seconds are -1 where the call can never pass, and 0 where its period must end first.
local function refusals(at, limits, found)
  local windows = { { 'tpm', limits.tpm, asked.tokens } }
  if not asked.is_more then
    windows[2] = { 'rpm', limits.rpm, 1 }
  end
  for _, one in ipairs(windows) do
    local measure, most, wanted = one[1], one[2], one[3]
    if most then
      local its = window(measure, limits.key)
      local excess = used(its) + wanted - most
      if excess > 0 then
        found[#found + 1] = { at, measure, wanted > most and -1 or frees_in(its, excess) }
      end
    end
  end
  if limits.max_parallel and not asked.is_more then
    if number(redis.call('HGET', use_of(limits.key), 'running')) >= limits.max_parallel then
      found[#found + 1] = { at, 'max_parallel', limits.max_parallel == 0 and -1 or 1 }
    end
  end
  if limits.budget and against(limits) + asked.money > limits.budget then
    found[#found + 1] = { at, 'budget', asked.money > limits.budget and -1 or 0 }
  end
end

local function take(limits)
  local has_place = limits.max_parallel and not asked.is_more or false
  if has_place then
    add(limits.key, 'running', 1)
  end
  local held = {
    key = limits.key, asked = asked.tokens, has_place = has_place,
    exact_rpm = exact_of(limits.rpm), exact_tpm = exact_of(limits.tpm),
  }
  if limits.rpm and not asked.is_more then
    held.request = charge(window('rpm', limits.key), 1, held.exact_rpm)
  end
  if limits.tpm then
    held.tokens = charge(window('tpm', limits.key), asked.tokens, held.exact_tpm)
  end
  if limits.budget then
    held.money, held.period = asked.money, period_of(limits.period)
    add(limits.key, 'spent ' .. held.period, 0)
    add(limits.key, 'reserved ' .. held.period, asked.money)
  end
  return held
end

-- `end_` has the tokens and the money that were used; nil: nothing was.
local function give_back(held, end_)
  if held.has_place then
    add(held.key, 'running', -1)
  end
  if held.request and not end_ then
    change(window('rpm', held.key), held.request, -1, held.exact_rpm)
  end
  if held.tokens then
    local tokens = end_ and end_.tokens or 0
    change(window('tpm', held.key), held.tokens, tokens - held.asked, held.exact_tpm)
  end
  if held.money then
    add(held.key, 'spent ' .. held.period, end_ and end_.money or 0)
    add(held.key, 'reserved ' .. held.period, -held.money)
  end
end

local function open_of(process)
  return name .. ':open:' .. process
end

-- The first word on a reservation counts, no other. One of a process that was taken for dead was charged already:
-- what the call really cost takes the place of that.
local function close(process, closing)
  local open = open_of(process)
  local found = redis.call('HGET', open, closing.id)
  local end_ = closing.tokens and closing or nil
  if found then
    redis.call('HDEL', open, closing.id)
    for _, held in ipairs(cmsgpack.unpack(found)) do
      give_back(held, end_)
    end
    return
  end
  local charged = redis.call('HGET', name .. ':charged', closing.id)
  if charged then
    redis.call('HDEL', name .. ':charged', closing.id)
    for _, one in ipairs(cmsgpack.unpack(charged)) do
      add(one.key, 'spent ' .. one.period, (end_ and end_.money or 0) - one.money)
    end
  elseif closing.is_void then -- it may still be on its way
    redis.call('SADD', name .. ':void:' .. process, closing.id)
    redis.call('EXPIRE', name .. ':void:' .. process, 3600)
  end
end

local function write(row)
  local ms, last = math.floor(wall * 1000 + 0.5), redis.call('HMGET', name .. ':last', 'ms', 'seq')
  local seq = 0
  if ms <= number(last[1]) then -- a stream's ids only grow, whatever its clock does
    ms, seq = number(last[1]), number(last[2]) + 1
  end
  redis.call('HSET', name .. ':last', 'ms', text(ms), 'seq', text(seq))
  redis.call('XADD', name .. ':ledger', text(ms) .. '-' .. text(seq), 'r', row.values)
  local day = string.format('%04d-%02d-%02d', civil(ms / 1000))
  redis.call('ZADD', name .. ':days', 0, day)
  for measure, amount in pairs(row.sums) do
    redis.call('HINCRBY', name .. ':sums:' .. day, measure .. ' ' .. row.names, text(amount))
  end
end

local verbs = {}

-- { milliseconds of Unix time, refusals { limit, measure, seconds }, left { limit, measure, used, seconds } }
function verbs.reserve()
  local void = name .. ':void:' .. asked.process
  if redis.call('SREM', void, asked.id) == 1 then
    return { text(wall * 1000), {}, {} }
  end
  local found = {}
  for at, limits in ipairs(asked.limits) do
    refusals(at - 1, limits, found)
  end
  if #found > 0 then
    return { text(wall * 1000), found, {} }
  end
  local held, left = {}, {}
  for at, limits in ipairs(asked.limits) do
    held[at] = take(limits)
  end
  redis.call('HSET', open_of(asked.process), asked.id, cmsgpack.pack(held))
  if not redis.call('ZSCORE', name .. ':leases', asked.process) then
    redis.call('ZADD', name .. ':leases', text(now + LEASE), asked.process)
  end
  for at, limits in ipairs(asked.limits) do
    for _, measure in ipairs({ 'rpm', 'tpm' }) do
      if limits[measure] then
        local one = window(measure, limits.key)
        left[#left + 1] = { at - 1, measure, used(one), empties_in(one) }
      end
    end
  end
  return { text(wall * 1000), {}, left }
end

function verbs.conclude()
  local told = name .. ':told:' .. asked.process
  if redis.call('ZSCORE', told, asked.number) or asked.number < number(redis.call('GET', told .. ':low')) then
    return 0
  end
  redis.call('ZADD', told, asked.number, asked.number)
  redis.call('ZREMRANGEBYSCORE', told, '-inf', '(' .. asked.low)
  redis.call('SET', told .. ':low', asked.low, 'EX', 7 * 86400)
  redis.call('EXPIRE', told, 7 * 86400)
  for _, closing in ipairs(asked.closings) do
    close(asked.process, closing)
  end
  if asked.row then
    write(asked.row)
  end
  return 1
end

-- This process lives; what those reserved that do not is charged, for nobody can tell what they spent.
function verbs.renew()
  local leases = name .. ':leases'
  redis.call('ZADD', leases, text(now + LEASE), asked.process)
  local left = MOST
  for _, process in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now))) do
    local open = open_of(process)
    for _, id in ipairs(redis.call('HKEYS', open)) do
      if left == 0 then
        return 1
      end
      left = left - 1
      local charged = {}
      for _, held in ipairs(cmsgpack.unpack(redis.call('HGET', open, id))) do
        give_back(held, { tokens = held.asked, money = held.money or 0 })
        if held.money then
          charged[#charged + 1] = { key = held.key, period = held.period, money = held.money }
        end
      end
      redis.call('HDEL', open, id)
      if #charged > 0 then
        redis.call('HSET', name .. ':charged', id, cmsgpack.pack(charged))
      end
    end
    redis.call('ZREM', leases, process)
  end
  return 0
end

-- This process ends; what it has not closed is charged by whoever comes next.
function verbs.leave()
  if redis.call('EXISTS', open_of(asked.process)) == 1 then
    redis.call('ZADD', name .. ':leases', 0, asked.process)
  else
    redis.call('ZREM', name .. ':leases', asked.process)
  end
  return 0
end

function verbs.spent()
  local found = {}
  for at, limits in ipairs(asked.limits) do
    found[at] = text(against(limits))
  end
  return found
end

function verbs.put_key()
  local old = redis.call('HGET', name .. ':keys', asked.id)
  if old then
    redis.call('HDEL', name .. ':digests', cjson.decode(old).digest)
  else
    redis.call('RPUSH', name .. ':order', asked.id)
  end
  redis.call('HSET', name .. ':keys', asked.id, asked.content)
  redis.call('HSET', name .. ':digests', asked.digest, asked.id)
  return 0
end

function verbs.key_of()
  local id = redis.call('HGET', name .. ':digests', asked.digest)
  return id and redis.call('HGET', name .. ':keys', id)
end

function verbs.keys()
  local found = {}
  for at, id in ipairs(redis.call('LRANGE', name .. ':order', 0, -1)) do
    found[at] = redis.call('HGET', name .. ':keys', id)
  end
  return found
end

function verbs.own()
  local of = name .. ':owned:' .. asked.kind
  if redis.call('HSETNX', of, asked.id, asked.content) == 1 then
    redis.call('ZADD', of .. ':' .. asked.key, asked.made, asked.id)
  end
  return 0
end

function verbs.owned()
  local of, found = name .. ':owned:' .. asked.kind, {}
  for at, id in ipairs(redis.call('ZREVRANGE', of .. ':' .. asked.key, 0, -1)) do
    found[at] = redis.call('HGET', of, id)
  end
  return found
end

function verbs.disown()
  local of = name .. ':owned:' .. asked.kind
  local old = redis.call('HGET', of, asked.id)
  if old then
    redis.call('HDEL', of, asked.id)
    redis.call('ZREM', of .. ':' .. cjson.decode(old).key, asked.id)
  end
  return 0
end

return verbs[ARGV[1]]()
