/**
 * What a relay needs of a connection. The port of a connection of this package
 * reads and writes what has arrived in one step, so that an interruption loses
 * nothing, and passes large frames on in pieces. The port of another connection
 * uses its public members.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CloseCode from "../../CloseCode.ts"
import type { Connection } from "../../Connection.ts"
import { ConnectionClosed, MessageAborted, Terminated } from "../../ConnectionError.ts"
import { type CloseFrame, type Frame, isControl, Opcode, pong, readClose } from "../../Frame.ts"
import type { Closing } from "./closing.ts"
import { hooksOf, relayPort } from "./hooks.ts"
import type { Pings } from "./pings.ts"
import type { ReceiveQueue } from "./receiveQueue.ts"
import type { SendQueue } from "./sendQueue.ts"

export interface RelayPort {
  /** Suspends until `read` has frames to return. Fails with how the connection ended once all of them are read. */
  readonly readable: Effect.Effect<void, ConnectionClosed>
  /** Removes the data frames that have arrived, and the pieces of frames. */
  readonly read: () => ReadonlyArray<Frame>
  /** Waits until frames can be sent; then sends those that `read` returns. `message` stands for the sender. */
  readonly sendRead: (read: () => ReadonlyArray<Frame>, message: object) => Effect.Effect<void, ConnectionClosed>
  /** Fails the connection if the message of this sender is unfinished. */
  readonly abandon: (message: object) => Effect.Effect<void>
  /** Ends the connection without a close frame, after all that was sent. */
  readonly endWithoutClose: Effect.Effect<ConnectionClosed>
}

/** The frames from the first that begins a message, unless they continue one that was sent. */
const fromBeginning = (frames: ReadonlyArray<Frame>, inMessage: boolean): ReadonlyArray<Frame> => {
  if (inMessage || frames.length === 0 || frames[0].opcode !== Opcode.Continuation) return frames
  const first = frames.findIndex(({ opcode }) => opcode !== Opcode.Continuation)
  return first < 0 ? [] : frames.slice(first)
}

/** The port of a connection of this package. */
export class QueuePort implements RelayPort {
  readonly readable: Effect.Effect<void, ConnectionClosed>
  private readonly receiveQueue: ReceiveQueue
  private readonly sendQueue: SendQueue
  private readonly pings: Pings
  private readonly closing: Closing

  constructor(receiveQueue: ReceiveQueue, sendQueue: SendQueue, pings: Pings, closing: Closing) {
    this.readable = receiveQueue.awaitPart(Effect.fail)
    this.receiveQueue = receiveQueue
    this.sendQueue = sendQueue
    this.pings = pings
    this.closing = closing
  }

  readonly read = (): ReadonlyArray<Frame> => {
    const frames = this.receiveQueue.nextParts()
    if (!frames.some(isControl)) return frames
    // A close frame is part of how the connection ends, and is read there.
    for (const { opcode, payload } of frames) if (opcode === Opcode.Ping) this.pings.pong(pong(payload))
    return frames.filter((frame) => !isControl(frame))
  }

  sendRead(read: () => ReadonlyArray<Frame>, message: object): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      const inMessage = this.sendQueue.isMessageOf(message)
      return this.sendQueue.send(() => {
        const frames = fromBeginning(read(), inMessage)
        if (frames.length === 0) return Effect.void
        this.sendQueue.beginMessage(message)
        return this.sendQueue.writeData(frames, undefined, () => {
          if (frames[frames.length - 1].fin) this.sendQueue.endMessage(message)
        })
      }, inMessage ? message : undefined)
    })
  }

  abandon(message: object): Effect.Effect<void> {
    return Effect.sync(() => {
      if (!this.sendQueue.isMessageOf(message)) return
      this.closing.fail(CloseCode.InternalError, new MessageAborted())
      this.sendQueue.endMessage(message)
    })
  }

  get endWithoutClose(): Effect.Effect<ConnectionClosed> {
    return Effect.suspend(() => {
      this.closing.abort(new Terminated())
      return this.closing.transportClosed.await
    })
  }
}

/** The port of a connection that has none: of another implementation, or with overridden members. */
const makePublicPort = (connection: Connection): Effect.Effect<RelayPort, never, Scope.Scope> =>
  Effect.gen(function*() {
    const pull = yield* Stream.toPull(connection.frames)
    let arrived: ReadonlyArray<Frame> = []
    let received: CloseFrame | undefined
    let inMessage = false
    const ended = Effect.suspend(() =>
      received === undefined
        ? Effect.flatMap(connection.closed, Effect.fail)
        : Effect.fail(new ConnectionClosed({ sent: undefined, received, closedBy: "remote", cause: undefined }))
    )
    const take = (frames: ReadonlyArray<Frame>): Effect.Effect<void, ConnectionClosed> => {
      arrived = frames.filter((frame) => !isControl(frame))
      return Effect.forEach(frames.filter(isControl), ({ opcode, payload }) => {
        if (opcode === Opcode.Ping) return Effect.ignore(connection.sendFrame(pong(payload)))
        if (opcode === Opcode.Close) received = readClose(payload) as CloseFrame
        return Effect.void
      }, { discard: true })
    }
    const sendFrame = (frame: Frame): Effect.Effect<void, ConnectionClosed> =>
      connection.sendFrame(frame).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            inMessage = !frame.fin
          })
        ),
        Effect.catchTag(["ControlPayloadTooLong", "InvalidCloseCode", "InvalidFrame", "UnexpectedFragment"], Effect.die)
      )
    return {
      readable: Effect.flatMap(pull, take).pipe(Effect.catchIf(Cause.isDone, () => ended)),
      read: () => {
        const frames = arrived
        arrived = []
        return frames
      },
      sendRead: (read) =>
        Effect.suspend(() => Effect.forEach(fromBeginning(read(), inMessage), sendFrame, { discard: true })),
      abandon: () => Effect.suspend(() => inMessage ? Effect.asVoid(connection.terminate) : Effect.void),
      endWithoutClose: connection.terminate
    }
  })

export const portOf = (connection: Connection): Effect.Effect<RelayPort, never, Scope.Scope> => {
  const port = hooksOf(connection)[relayPort]
  return port === undefined ? makePublicPort(connection) : Effect.succeed(port)
}
