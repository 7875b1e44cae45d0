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
import { makeDeflate, makeInflate, type ZlibStream } from "./zlib.ts"

/** How many streams of a kind are kept for whoever comes next. */
const maxSpares = 8

/** A stream in somebody's hands, or spare. */
export interface Held {
  readonly kind: Kind
  readonly stream: ZlibStream
  /** Whether it is needed as it is, and cannot go. */
  busy: boolean
  /** When it was used last, counted in uses. */
  usedAt: number
  /** Who has it, to be told when it goes. */
  owner: Owner | undefined
}

export interface Owner {
  /** The stream will be closed right after this: now is the time to save something from it. */
  readonly release: (held: Held) => void
}

/** Streams of one kind can stand in for each other. */
interface Kind extends Owner {
  readonly name: "deflaters" | "inflaters"
  readonly make: () => ZlibStream
  readonly spares: Array<Held>
}

export interface ContextsOptions {
  readonly level: number
  readonly memoryLevel: number
  readonly releaseAfter: Duration.Duration
  readonly memoryLimit: number
}

export class Contexts {
  /** How many there are of each, spare ones among them, and what they take; what is kept in place of others. */
  readonly alive = { deflaters: 0, inflaters: 0, memory: 0, windows: 0 }
  private readonly options: ContextsOptions
  /** By window bits. */
  private readonly kinds: Record<Kind["name"], Array<Kind | undefined>> = { deflaters: [], inflaters: [] }
  private readonly held = new Set<Held>()
  private uses = 0
  connections = 0
  private context!: Context.Context<never>
  private sweeper: Fiber.Fiber<void> | undefined

  constructor(options: ContextsOptions) {
    this.options = options
  }

  /** A connection begins. */
  enter(context: Context.Context<never>): void {
    this.connections++
    this.context = context
  }

  /** A connection is over, and has given everything back. After the last, nothing is kept. */
  leave(): void {
    if (--this.connections > 0) return
    for (const held of this.held) this.release(held)
  }

  /** A compressor that remembers nothing. It is busy. */
  deflater(windowBits: number): Held {
    return this.take(this.kind("deflaters", windowBits))
  }

  /** A decompressor that remembers `window` alone. It is busy. */
  inflater(windowBits: number, window: Uint8Array | undefined): Held {
    const kind = this.kind("inflaters", windowBits)
    return window === undefined ? this.take(kind) : this.add(kind, makeInflate(windowBits, window))
  }

  /** It was used, and may go from here on, which its owner will be told. */
  rest(held: Held, owner: Owner): void {
    held.usedAt = ++this.uses
    held.busy = false
    held.owner = owner
  }

  /** Nobody needs what it remembers any more; it is in order, and the next may have it. */
  giveBack(held: Held): void {
    const { spares } = held.kind
    if (held.stream.hasDictionary || spares.length === maxSpares) return this.discard(held)
    held.stream.reset()
    spares.push(held)
    this.rest(held, held.kind)
  }

  private kind(name: Kind["name"], windowBits: number): Kind {
    return this.kinds[name][windowBits] ??= this.makeKind(name, windowBits)
  }

  private makeKind(name: Kind["name"], windowBits: number): Kind {
    const { level, memoryLevel } = this.options
    const spares: Array<Held> = []
    return {
      name,
      make: () => name === "deflaters" ? makeDeflate(windowBits, level, memoryLevel) : makeInflate(windowBits),
      spares,
      release: (held) => spares.splice(spares.indexOf(held), 1)
    }
  }

  private take(kind: Kind): Held {
    const spare = kind.spares.pop()
    if (spare === undefined) return this.add(kind, kind.make())
    spare.busy = true
    return spare
  }

  private add(kind: Kind, stream: ZlibStream): Held {
    const held: Held = { kind, stream, busy: true, usedAt: 0, owner: undefined }
    this.held.add(held)
    this.alive[kind.name]++
    this.alive.memory += stream.memory
    while (this.alive.memory > this.options.memoryLimit) {
      const oldest = this.oldest()
      if (oldest === undefined) break
      this.release(oldest)
    }
    this.sweeper ??= Effect.runForkWith(this.context)(this.sweep)
    return held
  }

  private oldest(): Held | undefined {
    let oldest: Held | undefined
    for (const held of this.held) {
      if (!held.busy && (oldest === undefined || held.usedAt < oldest.usedAt)) oldest = held
    }
    return oldest
  }

  private release(held: Held): void {
    held.owner?.release(held)
    this.discard(held)
  }

  /** Nothing of it can be used again. */
  discard(held: Held): void {
    if (!this.held.delete(held)) return
    held.stream.close()
    this.alive[held.kind.name]--
    this.alive.memory -= held.stream.memory
    if (this.held.size > 0) return
    this.sweeper?.interruptUnsafe()
    this.sweeper = undefined
  }

  private readonly sweep: Effect.Effect<void> = Effect.suspend(() => {
    const since = this.uses
    return Effect.andThen(
      Effect.sleep(this.options.releaseAfter),
      Effect.suspend(() => {
        for (const held of this.held) {
          if (!held.busy && held.usedAt <= since) this.release(held)
        }
        return this.sweep
      })
    )
  })
}
