/**
 * The earlier epochs of a channel. A broker may continue an epoch under another name:
 * then positions of the old one stand for the same offsets in the new one.
 */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type * as Broker from "../../Broker.ts"
import type { Position } from "../../Topic.ts"

/** How many epochs that are not continued are remembered. Clients choose their names. */
const maxEnded = 16

/** What the epochs of a channel need of it. */
export interface EpochsHost {
  /** The epoch of the channel. */
  readonly epoch: string
  readonly readHistory: (options: Broker.HistoryOptions) => Effect.Effect<Broker.HistoryPage, Broker.BrokerUnavailable>
}

export class Epochs {
  private readonly host: EpochsHost
  /** By epoch: the greatest offset up to which the current epoch is known to continue it. */
  private readonly continued = new Map<string, number>()
  /** By epoch: the smallest offset that the current epoch is known not to have. The oldest entry comes first. */
  private readonly ended = new Map<string, number>()
  /** Many clients resume at once, and one answer of the broker serves nearly all of them. */
  private readonly asking = Semaphore.makeUnsafe(1)

  constructor(host: EpochsHost) {
    this.host = host
  }

  /** The current epoch continues another one up to a position of it. */
  continue({ epoch, offset }: Position): void {
    this.continued.set(epoch, Math.max(offset, this.continued.get(epoch) ?? 0))
  }

  /** The current epoch continues no other one. */
  restart(): void {
    this.continued.clear()
  }

  /** Returns a position in the current epoch, or undefined if its epoch is not known to be continued up to it. */
  translate({ epoch, offset }: Position): Position | undefined {
    const current = this.host.epoch
    return epoch === current || offset <= (this.continued.get(epoch) ?? -1) ? { epoch: current, offset } : undefined
  }

  /**
   * The same, after asking the broker, which knows the epochs before this process.
   * Returns the position itself if its epoch is not continued up to it.
   */
  resolve(position: Position): Effect.Effect<Position, Broker.BrokerUnavailable> {
    const known = Effect.suspend(() => {
      const found = this.translate(position) ?? (this.hasEnded(position) ? position : undefined)
      return found === undefined ? this.ask(position) : Effect.succeed(found)
    })
    return Effect.suspend(() => {
      const found = this.translate(position)
      return found === undefined ? Semaphore.withPermit(this.asking, known) : Effect.succeed(found)
    })
  }

  private hasEnded({ epoch, offset }: Position): boolean {
    return offset >= (this.ended.get(epoch) ?? Number.POSITIVE_INFINITY)
  }

  private ask(since: Position): Effect.Effect<Position, Broker.BrokerUnavailable> {
    return Effect.map(this.host.readHistory({ since, limit: 0 }), ({ complete, position: { epoch } }) => {
      const isCurrent = epoch === this.host.epoch
      if (!complete) {
        if (isCurrent) this.end(since)
        return since
      }
      if (isCurrent) this.continue(since)
      return { epoch, offset: since.offset }
    })
  }

  private end({ epoch, offset }: Position): void {
    this.ended.delete(epoch)
    this.ended.set(epoch, offset)
    for (const oldest of this.ended.keys()) {
      if (this.ended.size <= maxEnded) return
      this.ended.delete(oldest)
    }
  }
}
