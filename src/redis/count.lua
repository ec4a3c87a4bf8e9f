-- Counts a request by every quota of its tier, or by none: the arithmetic of rate_limiter/window.rs,
-- on the time of this server. Times are in microseconds.
--
-- KEYS: one for each quota, all of one slot.
-- ARGV: what the request costs; of each quota its measure; in tests the time.
--
-- Answers the number of the quota that takes longest, counted from 1, or 0 where the request is
-- admitted; how long it takes; and of each quota how many requests remain, and how long until there
-- are more.
--
-- A value is the measure that it was counted by, and the window: when the latest request was, rounded
-- up to the grain of the marks and as it was, the requests beyond those in marks, whether a mark is a
-- sixtieth of the limit and whether there are older requests, their number if so, and the marks.

local MARKS = 59
local MARKS_BESIDE_OLDER = MARKS - 2
local MEASURE, MEASURE_SIZE = '>BI4I8I8I4', 25
local WINDOW, WINDOW_SIZE = '>I8I8I4B', 21
local COARSE, OLDER = 1, 2
local SLIDING, GCRA, FIXED = 1, 2, 3

local byte, char, rep, sub = string.byte, string.char, string.rep, string.sub
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min

local function measure(text)
    local algorithm, limit, length, tick, group = struct.unpack(MEASURE, text)
    return {
        algorithm = algorithm, limit = limit, length = length, tick = tick, group = group,
        text = text,
    }
end

local function new()
    return {at = 0, last = 0, filled = 0, coarse = false, older = 0, marks = ''}
end

-- Whether a value is one that this script can read: whatever else is there counts as nothing.
local function is_legible(value)
    local marks = #value - MEASURE_SIZE - WINDOW_SIZE
    if marks < 0 or marks > 2 * MARKS or marks % 2 == 1 then return false end
    local by = measure(value)
    return by.algorithm >= SLIDING and by.algorithm <= FIXED and by.limit > 0 and by.length > 0
        and by.tick > 0 and by.group > 0
end

local function read(value)
    local at, last, filled, flags = struct.unpack(WINDOW, value, MEASURE_SIZE + 1)
    local older, start = 0, MEASURE_SIZE + WINDOW_SIZE + 1
    if flags >= OLDER then older, start = struct.unpack('>I4', value, start) end
    return {
        at = at, last = last, filled = filled, coarse = flags % OLDER == COARSE, older = older,
        marks = sub(value, start),
    }
end

local function write(w, by)
    local flags = (w.coarse and COARSE or 0) + (w.older > 0 and OLDER or 0)
    local older = w.older > 0 and struct.pack('>I4', w.older) or ''
    return by.text .. struct.pack(WINDOW, w.at, w.last, w.filled, flags) .. older .. w.marks
end

-- What a full bucket holds, as time.
local function depth(by) return by.tick * by.limit end

-- Sliding: requests in a group.
local function step(w, by) return w.coarse and by.group or 1 end

local function used(w, by) return w.older + #w.marks / 2 * step(w, by) + w.filled end

local function is_empty(w) return w.marks == '' and w.filled == 0 end

-- The low bits of the number of grains: two bytes.
local function latest(w, by) return floor(w.at / by.tick) % 65536 end

local function latest_mark(w, by)
    local grains = latest(w, by)
    return char(floor(grains / 256), grains % 256)
end

local function mark(w, group) return sub(w.marks, 2 * group + 1, 2 * group + 2) end

-- When the latest request of a group was: not after the latest of all.
local function time_of(w, by, group)
    local high, low = byte(w.marks, 2 * group + 1, 2 * group + 2)
    local age = (latest(w, by) - high * 256 - low) % 65536
    return age == 0 and w.last or w.at - age * by.tick
end

-- When the window leaves a request behind, the oldest being number 0.
local function left_at(w, by, request)
    local group = floor(max(request - w.older, 0) / step(w, by))
    if group < #w.marks / 2 then return time_of(w, by, group) + by.length end
    if is_empty(w) then return 0 end
    return w.last + by.length
end

local function forget(w, oldest) w.marks = sub(w.marks, 2 * oldest + 1) end

-- Puts full groups of single requests together; those that make no full group are as of now.
local function coarsen(w, by)
    local groups, marks = floor(MARKS / by.group), {}
    for group = 1, groups do marks[group] = mark(w, group * by.group - 1) end
    w.marks = table.concat(marks)
    w.filled = w.filled + MARKS - groups * by.group
    w.coarse = true
end

-- Takes groups apart, where so few requests are left that each has room for itself.
local function refine(w, by)
    local marks = {}
    for group = 1, #w.marks / 2 do marks[group] = rep(mark(w, group - 1), by.group) end
    w.marks = table.concat(marks) .. rep(latest_mark(w, by), w.filled)
    w.filled, w.coarse = 0, false
end

-- Sliding: forgets the groups that the window has left behind.
local function slide(w, by, now)
    if is_empty(w) then return end
    if now >= w.last + by.length then
        w.marks, w.filled, w.older = '', 0, 0
        return
    end
    local left, groups = 0, #w.marks / 2
    while left < groups and time_of(w, by, left) + by.length <= now do left = left + 1 end
    if left > 0 then
        forget(w, left)
        w.older = 0
        if w.coarse and used(w, by) <= MARKS / 2 then refine(w, by) end
    end
end

-- Sliding: notes requests that were admitted at this time, or at that of the latest.
local function record(w, by, count, at)
    at = max(at, w.last)
    if is_empty(w) then
        w.at, w.coarse = at, false
    else
        w.at = w.at + ceil(max(at - w.at, 0) / by.tick) * by.tick
    end
    w.last = at
    w.filled = min(w.filled + count, 4294967295)
    -- Full groups at once and not one by one: a quota that was lowered may make very many of them.
    local full = floor(w.filled / step(w, by))
    local room = (w.older > 0 and MARKS_BESIDE_OLDER or MARKS) - #w.marks / 2
    if full > room and not w.coarse and by.group > 1 then
        w.marks = w.marks .. rep(latest_mark(w, by), room)
        w.filled = w.filled - room
        coarsen(w, by)
        full = floor(w.filled / by.group)
        room = MARKS - #w.marks / 2
    end
    w.filled = w.filled - full * step(w, by)
    if full <= room then
        w.marks = w.marks .. rep(latest_mark(w, by), full)
        return
    end
    -- Only the latest groups have room: the older ones are summed up.
    local marked = min(full, MARKS_BESIDE_OLDER)
    local forgotten = #w.marks / 2 + marked - MARKS_BESIDE_OLDER
    w.older = min(w.older + (forgotten + full - marked) * step(w, by), 4294967295)
    forget(w, forgotten)
    w.marks = w.marks .. rep(latest_mark(w, by), marked)
end

-- How much there is room for, and when that grows.
local function room(w, by, now)
    if by.algorithm == SLIDING then
        slide(w, by, now)
        local left = by.limit - used(w, by)
        return max(left, 0), max(left_at(w, by, max(-left, 0)), now)
    elseif by.algorithm == GCRA then
        if w.at <= now then return by.limit, now end
        local left = floor(max(depth(by) - (w.at - now), 0) / by.tick)
        return left, w.at - (depth(by) - (left + 1) * by.tick)
    end
    if now >= w.at + by.length then w.filled = 0 end
    return max(by.limit - w.filled, 0), w.filled == 0 and now or w.at + by.length
end

-- When a request of this cost is admitted if no other comes before it.
local function free_at(w, by, cost, now)
    if by.algorithm == SLIDING then
        local over = used(w, by) + cost - by.limit
        return max(left_at(w, by, over - 1), now)
    elseif by.algorithm == GCRA then
        return max(max(w.at, now) + cost * by.tick - depth(by), now)
    end
    return w.at + by.length
end

-- Counts a request for which there is room.
local function take(w, by, cost, now)
    if by.algorithm == SLIDING then
        record(w, by, cost, now)
    elseif by.algorithm == GCRA then
        w.at = max(w.at, now) + cost * by.tick
    else
        if w.filled == 0 then w.at = now end
        w.filled = w.filled + cost
    end
end

-- How many requests it counts.
local function count(w, by, now)
    if by.algorithm == SLIDING then return used(w, by) end
    if by.algorithm == GCRA then return ceil(max(w.at - now, 0) / by.tick) end
    return w.filled
end

-- The same requests counted by another quota: of a sliding window each at its time, of the others
-- all as of now; by a bucket no more than it holds.
local function carried(w, from, by, now)
    local carried = new()
    room(w, from, now)
    if from.algorithm == SLIDING and by.algorithm == SLIDING then
        if w.older > 0 and time_of(w, from, 0) + by.length > now then
            record(carried, by, w.older, time_of(w, from, 0))
        end
        for group = 0, #w.marks / 2 do
            local is_full = group < #w.marks / 2
            local requests = is_full and step(w, from) or w.filled
            local at = is_full and time_of(w, from, group) or w.last
            if requests > 0 and at + by.length > now then record(carried, by, requests, at) end
        end
    else
        local requests = count(w, from, now)
        if by.algorithm == GCRA then requests = min(requests, by.limit) end
        if requests > 0 then take(carried, by, requests, now) end
    end
    return carried
end

-- Sliding: moves all requests alike, so that the latest of them was at this time.
local function move(w, by, to)
    local ages = {}
    for group = 1, #w.marks / 2 do
        local high, low = byte(w.marks, 2 * group - 1, 2 * group)
        ages[group] = latest(w, by) - high * 256 - low
    end
    w.at, w.last = w.at - (w.last - to), to
    for group, age in ipairs(ages) do
        local grains = (latest(w, by) - age) % 65536
        ages[group] = char(floor(grains / 256), grains % 256)
    end
    w.marks = table.concat(ages)
end

-- What was counted by a clock that has since been set back: no request was later than now. Whether
-- that changes anything, which is then kept: what is moved to now must not move on with it.
local function catch_up(w, by, now)
    if by.algorithm == SLIDING then
        if w.last <= now then return false end
        move(w, by, now)
    elseif by.algorithm == GCRA then
        if w.at <= now + depth(by) then return false end
        w.at = now + depth(by)
    else
        if w.at <= now then return false end
        w.at = now
    end
    return true
end

local cost, now = tonumber(ARGV[1]), tonumber(ARGV[#KEYS + 2])
local is_test = now ~= nil
if not is_test then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end

local windows, measures, is_changed = {}, {}, {}
local longest, longest_at = 0, now
local values = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
    local by, value = measure(ARGV[i + 1]), values[i]
    local w
    if not value or not is_legible(value) then
        w = new()
    elseif sub(value, 1, MEASURE_SIZE) == by.text then
        w = read(value)
        is_changed[i] = catch_up(w, by, now)
    else
        local from = measure(sub(value, 1, MEASURE_SIZE))
        w = read(value)
        catch_up(w, from, now)
        w = carried(w, from, by, now)
        -- Kept also where the request is refused: what counts as of now must not move on with it.
        is_changed[i] = true
    end
    windows[i], measures[i] = w, by
    local wanted = min(cost, by.limit)
    if room(w, by, now) < wanted then
        local at = free_at(w, by, wanted, now)
        if longest == 0 or at > longest_at then longest, longest_at = i, at end
    end
end

local answer = {longest, longest_at - now}
for i = 1, #KEYS do
    local w, by = windows[i], measures[i]
    if longest == 0 then take(w, by, min(cost, by.limit), now) end
    if longest == 0 or is_changed[i] then
        local idle_at = by.algorithm == GCRA and w.at or w.at + by.length
        -- Never too early. The time that a test gives is not that of the server.
        local lasts = is_test and 600000 or ceil(max(idle_at - now, 0) / 1000) + 1000
        redis.call('SET', KEYS[i], write(w, by), 'PX', lasts)
    end
    local remaining, grows_at = room(w, by, now)
    answer[2 * i + 1], answer[2 * i + 2] = remaining, grows_at - now
end
return answer
