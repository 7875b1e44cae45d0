/**
 * The scripts of Redis: each operation of a broker is one atomic step.
 *
 * Position. A channel has an epoch and an offset. A replica that is promoted, or a
 * master that restarts, may lack the newest messages, and would assign their
 * offsets again. It has another replication id then, so the epoch changes; `l`
 * remembers up to which offset the earlier epoch is part of this one. A subscriber
 * that has seen no more than that continues without loss.
 */
import { crypto } from "../runtime/builtins.ts"

export interface Script {
  readonly source: string
  readonly sha: string
}

/**
 * Without the header, Redis would check its memory at the first command that
 * writes, and not at all behind one that frees memory. Scripts that add data fail
 * while Redis is out of memory; those that heal and remove run.
 */
const script = (lua: string, kind: "adds" | "reads" = "reads"): Script => {
  const source = (kind === "adds" ? "#!lua\n" : "#!lua flags=allow-oom\n") + lua
  return { source, sha: crypto().createHash("sha1").update(source).digest("hex") }
}

/** How many earlier epochs a channel remembers. */
const maxLineage = 8

/**
 * `open(epoch, ttl)` returns the epoch and the offset of the channel with the meta
 * key KEYS[1] and the history KEYS[2]; `epoch` is used if it needs a new one.
 */
const open = `
local function open(newEpoch, ttl)
  local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 'r', 'l')
  local epoch, offset = meta[1], tonumber(meta[2] or '0')
  if not epoch then
    epoch = newEpoch
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[1], 'e', epoch, 'o', offset, 'r', id)
  elseif meta[3] ~= id then
    local lineage = { epoch .. ' ' .. offset }
    for earlier in string.gmatch(meta[4] or '', '[^,]+') do
      if #lineage < ${maxLineage} then table.insert(lineage, earlier) end
    end
    epoch = newEpoch
    redis.call('HSET', KEYS[1], 'e', epoch, 'r', id, 'l', table.concat(lineage, ','))
  end
  redis.call('PEXPIRE', KEYS[1], ttl)
  return epoch, offset
end
`

/** `announce` delivers a change of presence: kind "J" or "L", Redis's channel, command to publish, position, body. */
const announce = `
local function announce(kind, channel, command, epoch, offset, body)
  local version = redis.call('HINCRBY', KEYS[1], 'v', 1)
  redis.call(command, channel, '1 ' .. kind .. ' ' .. epoch .. ' ' .. offset .. ' ' .. version .. '\\n' .. body)
end
`

/**
 * Keys: meta, history, idempotency. Arguments: new epoch, ttl of meta, command to
 * publish, Redis's channel, body, size of the history, its ttl, ttl of the
 * idempotency key or 0. Returns epoch and offset.
 */
export const publish: Script = script(
  `${open}
if ARGV[8] ~= '0' then
  local epoch, offset = string.match(redis.call('GET', KEYS[3]) or '', '(%S+) (%d+)')
  if epoch then return { epoch, tonumber(offset) } end
end
local epoch = open(ARGV[1], ARGV[2])
local offset = redis.call('HINCRBY', KEYS[1], 'o', 1)
if ARGV[6] == '0' then
  redis.call('DEL', KEYS[2])
else
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[6], offset .. '-0', 'd', ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[7])
end
if ARGV[8] ~= '0' then redis.call('SET', KEYS[3], epoch .. ' ' .. offset, 'PX', ARGV[8]) end
redis.call(ARGV[3], ARGV[4], '1 P ' .. epoch .. ' ' .. offset .. '\\n' .. ARGV[5])
return { epoch, offset }
`,
  "adds"
)

/**
 * Keys: meta, history. Arguments: new epoch, ttl of meta, epoch and offset of
 * `since` or empty, limit or -1, "1" for the newest first. Returns epoch, offset,
 * the offset that `since` stands for in this epoch or -1, and entries of the stream.
 */
export const history: Script = script(`${open}
local epoch, offset = open(ARGV[1], ARGV[2])
local from = -1
if ARGV[3] == epoch then
  from = tonumber(ARGV[4])
elseif ARGV[3] ~= '' then
  for earlier, last in string.gmatch(redis.call('HGET', KEYS[1], 'l') or '', '(%S+) (%d+)') do
    earlier = string.gsub(earlier, ',', '')
    if earlier == ARGV[3] and tonumber(ARGV[4]) <= tonumber(last) then from = tonumber(ARGV[4]) end
  end
end
if from > offset then from = -1 end
local entries = {}
if ARGV[5] ~= '0' then
  local range = { 'XRANGE', KEYS[2], '-', '+' }
  if ARGV[6] == '1' then
    range = { 'XREVRANGE', KEYS[2], '+', '-' }
    if from > 0 then range[3] = '(' .. from .. '-0' end
    if from == 0 then return { epoch, offset, from, entries } end
  elseif from > 0 then
    range[3] = '(' .. from .. '-0'
  end
  if ARGV[5] ~= '-1' then
    table.insert(range, 'COUNT')
    table.insert(range, ARGV[5])
  end
  entries = redis.call(unpack(range))
end
return { epoch, offset, from, entries }
`)

/**
 * Keys: meta, history, members, channels of the process. Arguments: new epoch, ttl
 * of meta, command to publish, Redis's channel, id, process, body, channel.
 */
export const join: Script = script(
  `${open}${announce}
local epoch, offset = open(ARGV[1], ARGV[2])
local process, body = string.match(redis.call('HGET', KEYS[3], ARGV[5]) or '', '^(%S+) (.*)$')
redis.call('HSET', KEYS[3], ARGV[5], ARGV[6] .. ' ' .. ARGV[7])
redis.call('SADD', KEYS[4], ARGV[8])
if body ~= ARGV[7] then announce('J', ARGV[4], ARGV[3], epoch, offset, ARGV[7]) end
`,
  "adds"
)

/**
 * Keys: meta, history, members, channels of the process. Arguments: new epoch, ttl
 * of meta, command to publish, Redis's channel, id, process, "1" if it was the last
 * member of the process in the channel, channel.
 */
export const leave: Script = script(`${open}${announce}
local epoch, offset = open(ARGV[1], ARGV[2])
if ARGV[7] == '1' then redis.call('SREM', KEYS[4], ARGV[8]) end
local process, body = string.match(redis.call('HGET', KEYS[3], ARGV[5]) or '', '^(%S+) (.*)$')
if process ~= ARGV[6] then return end
redis.call('HDEL', KEYS[3], ARGV[5])
announce('L', ARGV[4], ARGV[3], epoch, offset, body)
`)

/**
 * Removes the members of a process that has died. Keys and arguments: as those of
 * `leave`, without an id.
 */
export const reap: Script = script(`${open}${announce}
local epoch, offset = open(ARGV[1], ARGV[2])
local members = redis.call('HGETALL', KEYS[3])
for i = 1, #members, 2 do
  local process, body = string.match(members[i + 1], '^(%S+) (.*)$')
  if process == ARGV[5] then
    redis.call('HDEL', KEYS[3], members[i])
    announce('L', ARGV[4], ARGV[3], epoch, offset, body)
  end
end
redis.call('SREM', KEYS[4], ARGV[6])
`)

/** Keys: meta, history, members. Arguments: new epoch, ttl of meta. Returns epoch, offset, version and the hash's values. */
export const members: Script = script(`${open}
local epoch, offset = open(ARGV[1], ARGV[2])
return { epoch, offset, tonumber(redis.call('HGET', KEYS[1], 'v') or '0'), redis.call('HVALS', KEYS[3]) }
`)

/**
 * Renews the lease of a process. Keys: leases. Arguments: process, lease in
 * milliseconds, "1" to begin it. Returns 1, or 0 if the lease has ended.
 */
export const renew: Script = script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0')
if ARGV[3] ~= '1' and ends <= now then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return 1
`)

/** Keys: leases. Returns the processes with leases that have ended. */
export const expired: Script = script(`
local time = redis.call('TIME')
return redis.call('ZRANGE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000), 'BYSCORE')
`)

/** Keys: the channels of a process in a partition. Returns them. */
export const channelsOf: Script = script(`return redis.call('SMEMBERS', KEYS[1])`)

/** Keys: leases. Arguments: a process. Ends its lease. */
export const endLease: Script = script(`return redis.call('ZREM', KEYS[1], ARGV[1])`)
