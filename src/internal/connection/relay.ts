/** Passes on, between two connections, what either of them receives, and how it ends. */
import * as Effect from "effect/Effect"
import type { Connection, Relayed, RelayEnd, RelayOptions } from "../../Connection.ts"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import type { CloseFrame } from "../../Frame.ts"
import { isUnanswered } from "./closing.ts"
import { assertConnection } from "./decorate.ts"
import { portOf, type RelayPort } from "./relayPort.ts"

/** The close frame that ended a connection, unless this end sent it because of a failure. */
const closeFrameOf = ({ cause, closedBy, code, reason }: ConnectionClosed): CloseFrame | undefined =>
  closedBy === "remote" || cause === undefined ? { code, reason } : undefined

const passOn = ({ closeFrame }: RelayEnd): CloseFrame | undefined => closeFrame

/** One of the two connections. As an object, it stands for the message that the relay sends on it. */
interface End {
  readonly side: "left" | "right"
  readonly connection: Connection
  readonly port: RelayPort
}

/** Passes on what `from` receives, and returns how `from` ended. */
const forward = (from: End, to: End): Effect.Effect<ConnectionClosed> => {
  // If nothing can be sent to `to` any more, what `from` receives has no destination.
  const send = Effect.catch(
    to.port.sendRead(from.port.read, to),
    () => Effect.flatMap(from.connection.discard, Effect.fail)
  )
  return Effect.flip(Effect.forever(Effect.andThen(from.port.readable, send), { disableYield: true }))
}

/** Ends a connection with a close frame, or without one. */
const endWith = ({ connection, port }: End, frame: CloseFrame | undefined): Effect.Effect<ConnectionClosed> =>
  frame === undefined ? port.endWithoutClose : Effect.orDie(connection.close(frame.code, frame.reason))

export const relay = (
  leftConnection: Connection,
  rightConnection: Connection,
  { closeOther = passOn }: RelayOptions = {}
): Effect.Effect<Relayed> =>
  Effect.scoped(Effect.gen(function*() {
    assertConnection(leftConnection)
    assertConnection(rightConnection)
    const left: End = { side: "left", connection: leftConnection, port: yield* portOf(leftConnection) }
    const right: End = { side: "right", connection: rightConnection, port: yield* portOf(rightConnection) }
    let first: RelayEnd | undefined

    /** Passes on what `from` receives, then its end. Returns how `to` ended. */
    const passAll = (from: End, to: End): Effect.Effect<ConnectionClosed> =>
      Effect.flatMap(forward(from, to), (closed) => {
        if (first === undefined) {
          first = { endedBy: from.side, closed, closeFrame: closeFrameOf(closed) }
          return endWith(to, closeOther(first))
        }
        // `to` ended first. With `autoClose: false`, its close frame is answered now.
        return isUnanswered(first.closed)
          ? endWith(to, { code: first.closed.code, reason: "" })
          : to.connection.closed
      })
    const both = Effect.all([passAll(left, right), passAll(right, left)], { concurrency: 2 })
    // After both, because an abandoned connection ends, which must not be passed on.
    const abandon = Effect.forEach([left, right], (end) => end.port.abandon(end), { discard: true })
    const [rightClosed, leftClosed] = yield* Effect.ensuring(both, abandon)
    return { endedBy: first!.endedBy, left: leftClosed, right: rightClosed }
  }))
