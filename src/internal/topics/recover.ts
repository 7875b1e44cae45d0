/** Collects the messages behind a position, for subscribers that get them with their confirmation. */
import * as Effect from "effect/Effect"
import type * as Broker from "../../Broker.ts"
import { type Channel, waiting } from "./channel.ts"
import type { Cursor } from "./cursor.ts"
import type { PublicationEvent } from "./entry.ts"

export interface Recovered {
  readonly publications: ReadonlyArray<PublicationEvent>
  readonly isRecovered: boolean
}

/**
 * Moves a cursor that is held to the end of its channel. If some messages are lost, it
 * returns those behind the last gap; if there are more than `limit`, none.
 */
export const recover = (
  channel: Channel,
  cursor: Cursor,
  limit: number
): Effect.Effect<Recovered, Broker.BrokerUnavailable> =>
  Effect.callback((resume) => {
    const publications: Array<PublicationEvent> = []
    let isRecovered = true
    let isCollecting = false
    const collect = () => {
      // The history may arrive while it is asked for.
      if (isCollecting) return
      isCollecting = true
      collectAll()
      isCollecting = false
    }
    const collectAll = () => {
      for (let next = channel.next(cursor); next !== undefined; next = channel.next(cursor)) {
        if (next === waiting) return
        if (next.event._tag === "Publication") publications.push(next.event)
        if (next.event._tag === "Gap" && next.event.isLossless !== true) {
          isRecovered = false
          publications.length = 0
        }
        cursor.advance(next)
        if (publications.length > limit) {
          channel.jump(cursor)
          return resume(Effect.succeed({ publications: [], isRecovered: false }))
        }
      }
      resume(Effect.succeed({ publications, isRecovered }))
    }
    cursor.outlet = {
      write: () => false,
      ready: collect,
      failed: (_, error) => resume(Effect.fail(error))
    }
    collect()
  })
