/**
 * The zlib streams of all connections of one extension: which exist, which are
 * idle, and when they are evicted.
 *
 * A sweep, every `releaseAfter` while there are streams, evicts those that were not
 * used since the sweep before. While all streams take more than `memoryLimit`, the
 * least recently used are evicted. The pool starts no fiber: the timers that its
 * users hand in call the sweep.
 */
import type { Timers } from "../runtime/timers.ts"
import { makeDeflate, makeInflate, type ZlibStream } from "./zlibStream.ts"

/** How many idle streams of a kind the pool keeps for the next connection. */
const maxIdle = 8

/** A stream that a connection holds, or that is idle in the pool. */
export interface Lease {
  readonly kind: Kind
  readonly stream: ZlibStream
  /** Whether the stream is within a message, and must not be evicted. */
  isBusy: boolean
  /** When the stream was last used, as the number of uses of all streams until then. */
  lastUsed: number
  holder: LeaseHolder | undefined
}

export interface LeaseHolder {
  /** Saves what the holder needs of a stream, which the pool closes right after this. */
  readonly onEvict: (lease: Lease) => void
}

/** Streams of one direction and window size, which can replace each other. */
interface Kind extends LeaseHolder {
  readonly name: "deflaters" | "inflaters"
  readonly make: () => ZlibStream
  readonly idle: Array<Lease>
}

export interface ZlibPoolOptions {
  readonly level: number
  readonly memoryLevel: number
  /** In milliseconds. */
  readonly releaseAfter: number
  /** In bytes. */
  readonly memoryLimit: number
}

export class ZlibPool {
  /** The number of streams, idle ones included; their memory in bytes; the bytes of windows kept of evicted inflaters. */
  readonly usage = { deflaters: 0, inflaters: 0, memory: 0, windows: 0 }
  /** The number of users. */
  connections = 0
  private readonly options: ZlibPoolOptions
  /** By window bits. */
  private readonly kinds: Record<Kind["name"], Array<Kind | undefined>> = { deflaters: [], inflaters: [] }
  private readonly leases = new Set<Lease>()
  private uses = 0
  /** The timers of the user that came last, for the next sweep. */
  private timers: Timers | undefined
  private cancelSweep: (() => void) | undefined

  constructor(options: ZlibPoolOptions) {
    this.options = options
  }

  addUser(timers: Timers): void {
    this.connections++
    this.timers = timers
  }

  /** Removes a user that has released its leases. After the last, the pool keeps no stream. */
  removeUser(): void {
    if (--this.connections > 0) return
    for (const lease of this.leases) this.evict(lease)
  }

  /** Leases a busy compressor with an empty window. */
  leaseDeflater(windowBits: number): Lease {
    return this.lease(this.kind("deflaters", windowBits))
  }

  /** Leases a busy decompressor with the given window, or an empty one. */
  leaseInflater(windowBits: number, window: Uint8Array | undefined): Lease {
    const kind = this.kind("inflaters", windowBits)
    return window === undefined ? this.lease(kind) : this.add(kind, makeInflate(windowBits, window))
  }

  /** Allows the pool to evict a stream that was just used. `holder` keeps the lease until then. */
  markIdle(lease: Lease, holder: LeaseHolder): void {
    lease.lastUsed = ++this.uses
    lease.isBusy = false
    lease.holder = holder
  }

  /** Takes back a stream that is in order, for the next connection. Its window is lost. */
  release(lease: Lease): void {
    const { kind, stream } = lease
    if (stream.hasDictionary || kind.idle.length === maxIdle) return this.discard(lease)
    stream.reset()
    kind.idle.push(lease)
    this.markIdle(lease, kind)
  }

  /** Closes a stream that no connection can use again. */
  discard(lease: Lease): void {
    if (!this.leases.delete(lease)) return
    lease.stream.close()
    this.usage[lease.kind.name]--
    this.usage.memory -= lease.stream.memory
    if (this.leases.size > 0) return
    this.cancelSweep?.()
    this.cancelSweep = undefined
  }

  private kind(name: Kind["name"], windowBits: number): Kind {
    return this.kinds[name][windowBits] ??= this.makeKind(name, windowBits)
  }

  private makeKind(name: Kind["name"], windowBits: number): Kind {
    const { level, memoryLevel } = this.options
    const idle: Array<Lease> = []
    return {
      name,
      make: () => name === "deflaters" ? makeDeflate(windowBits, level, memoryLevel) : makeInflate(windowBits),
      idle,
      onEvict: (lease) => idle.splice(idle.indexOf(lease), 1)
    }
  }

  private lease(kind: Kind): Lease {
    const lease = kind.idle.pop()
    if (lease === undefined) return this.add(kind, kind.make())
    lease.isBusy = true
    return lease
  }

  private add(kind: Kind, stream: ZlibStream): Lease {
    const lease: Lease = { kind, stream, isBusy: true, lastUsed: 0, holder: undefined }
    this.leases.add(lease)
    this.usage[kind.name]++
    this.usage.memory += stream.memory
    this.enforceLimit()
    if (this.cancelSweep === undefined) this.scheduleSweep()
    return lease
  }

  // -- eviction --------------------------------------------------------------

  private enforceLimit(): void {
    while (this.usage.memory > this.options.memoryLimit) {
      const lease = this.leastRecentlyUsed()
      if (lease === undefined) return
      this.evict(lease)
    }
  }

  private leastRecentlyUsed(): Lease | undefined {
    let oldest: Lease | undefined
    for (const lease of this.leases) {
      if (!lease.isBusy && (oldest === undefined || lease.lastUsed < oldest.lastUsed)) oldest = lease
    }
    return oldest
  }

  private evict(lease: Lease): void {
    lease.holder?.onEvict(lease)
    this.discard(lease)
  }

  private scheduleSweep(): void {
    const { uses } = this
    // A lease belongs to a user. Another user may have brought other timers when the sweep is cancelled.
    const timers = this.timers!
    const timer = timers.schedule(this.options.releaseAfter, () => this.sweep(uses))
    this.cancelSweep = () => timers.cancel(timer)
  }

  private sweep(since: number): void {
    for (const lease of this.leases) {
      if (!lease.isBusy && lease.lastUsed <= since) this.evict(lease)
    }
    if (this.leases.size > 0) this.scheduleSweep()
  }
}
