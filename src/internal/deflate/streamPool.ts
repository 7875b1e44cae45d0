/**
 * The zlib streams of all connections of an extension: which are alive, which
 * are spare, and when they go.
 *
 * A stream goes when it was not used between two looks, `releaseAfter` apart,
 * and when all together take more than `memoryLimit`, the one first that was
 * not used for the longest time. One fiber looks, and only while there is
 * something to look at.
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { makeDeflate, makeInflate, type ZlibStream } from "./zlibStream.ts"

/** How many streams of a kind are kept for whoever comes next. */
const maxSpares = 8

/** A stream in somebody's hands, or spare. */
export interface Lease {
  readonly kind: Kind
  readonly stream: ZlibStream
  /** Whether it is needed as it is, and cannot go. */
  busy: boolean
  /** When it was used last, counted in uses. */
  usedAt: number
  /** Who has it, to be told when it goes. */
  owner: LeaseHolder | undefined
}

export interface LeaseHolder {
  /** The stream will be closed right after this: now is the time to save something from it. */
  readonly onEvict: (held: Lease) => void
}

/** Streams of one kind can stand in for each other. */
interface Kind extends LeaseHolder {
  readonly name: "deflaters" | "inflaters"
  readonly make: () => ZlibStream
  readonly idleStreams: Array<Lease>
}

export interface ZlibPoolOptions {
  readonly level: number
  readonly memoryLevel: number
  readonly releaseAfter: Duration.Duration
  readonly memoryLimit: number
}

export class ZlibPool {
  /** How many there are of each, spare ones among them, and what they take; what is kept in place of others. */
  readonly usage = { deflaters: 0, inflaters: 0, memory: 0, windows: 0 }
  private readonly options: ZlibPoolOptions
  /** By window bits. */
  private readonly kinds: Record<Kind["name"], Array<Kind | undefined>> = { deflaters: [], inflaters: [] }
  private readonly leases = new Set<Lease>()
  private uses = 0
  connections = 0
  private context!: Context.Context<never>
  private sweeper: Fiber.Fiber<void> | undefined

  constructor(options: ZlibPoolOptions) {
    this.options = options
  }

  /** A connection begins. */
  addUser(context: Context.Context<never>): void {
    this.connections++
    this.context = context
  }

  /** A connection is over, and has given everything back. After the last, nothing is kept. */
  removeUser(): void {
    if (--this.connections > 0) return
    for (const held of this.leases) this.evict(held)
  }

  /** A compressor that remembers nothing. It is busy. */
  deflater(windowBits: number): Lease {
    return this.take(this.kind("deflaters", windowBits))
  }

  /** A decompressor that remembers `window` alone. It is busy. */
  inflater(windowBits: number, window: Uint8Array | undefined): Lease {
    const kind = this.kind("inflaters", windowBits)
    return window === undefined ? this.take(kind) : this.add(kind, makeInflate(windowBits, window))
  }

  /** It was used, and may go from here on, which its owner will be told. */
  markIdle(held: Lease, owner: LeaseHolder): void {
    held.usedAt = ++this.uses
    held.busy = false
    held.owner = owner
  }

  /** Nobody needs what it remembers any more; it is in order, and the next may have it. */
  release(held: Lease): void {
    const { idleStreams } = held.kind
    if (held.stream.hasDictionary || idleStreams.length === maxSpares) return this.discard(held)
    held.stream.reset()
    idleStreams.push(held)
    this.markIdle(held, held.kind)
  }

  private kind(name: Kind["name"], windowBits: number): Kind {
    return this.kinds[name][windowBits] ??= this.makeKind(name, windowBits)
  }

  private makeKind(name: Kind["name"], windowBits: number): Kind {
    const { level, memoryLevel } = this.options
    const idleStreams: Array<Lease> = []
    return {
      name,
      make: () => name === "deflaters" ? makeDeflate(windowBits, level, memoryLevel) : makeInflate(windowBits),
      idleStreams,
      onEvict: (held) => idleStreams.splice(idleStreams.indexOf(held), 1)
    }
  }

  private take(kind: Kind): Lease {
    const spare = kind.idleStreams.pop()
    if (spare === undefined) return this.add(kind, kind.make())
    spare.busy = true
    return spare
  }

  private add(kind: Kind, stream: ZlibStream): Lease {
    const held: Lease = { kind, stream, busy: true, usedAt: 0, owner: undefined }
    this.leases.add(held)
    this.usage[kind.name]++
    this.usage.memory += stream.memory
    while (this.usage.memory > this.options.memoryLimit) {
      const oldest = this.oldest()
      if (oldest === undefined) break
      this.evict(oldest)
    }
    this.sweeper ??= Effect.runForkWith(this.context)(this.sweep)
    return held
  }

  private oldest(): Lease | undefined {
    let oldest: Lease | undefined
    for (const held of this.leases) {
      if (!held.busy && (oldest === undefined || held.usedAt < oldest.usedAt)) oldest = held
    }
    return oldest
  }

  private evict(held: Lease): void {
    held.owner?.onEvict(held)
    this.discard(held)
  }

  /** Nothing of it can be used again. */
  discard(held: Lease): void {
    if (!this.leases.delete(held)) return
    held.stream.close()
    this.usage[held.kind.name]--
    this.usage.memory -= held.stream.memory
    if (this.leases.size > 0) return
    this.sweeper?.interruptUnsafe()
    this.sweeper = undefined
  }

  private readonly sweep: Effect.Effect<void> = Effect.suspend(() => {
    const since = this.uses
    return Effect.andThen(
      Effect.sleep(this.options.releaseAfter),
      Effect.suspend(() => {
        for (const held of this.leases) {
          if (!held.busy && held.usedAt <= since) this.evict(held)
        }
        return this.sweep
      })
    )
  })
}
