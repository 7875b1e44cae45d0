/** The other end of a connection, as frames and bytes. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { concatBytes } from "#platform"
import * as Frame from "../../Frame.ts"
import type { Transport } from "../../Transport.ts"

/** The example of RFC 6455 §5.7: a peer that is a client masks all frames with it, so that tests are reproducible. */
const maskKey = 0x3d21fa37

/** A peer that sends what it is told to send, and checks and answers nothing. */
export class MemoryPeer {
  readonly transport: Transport
  private readonly role: Frame.Role
  /** The frames that were received. */
  readonly received: Array<Frame.Frame> = []
  /** The bytes of each read. */
  readonly reads: Array<Uint8Array> = []
  receivedEof = false
  isClosed = false
  private readonly closing = Deferred.makeUnsafe<void>()
  /** The next read, for the fibers that wait for a frame. */
  private arrival = Deferred.makeUnsafe<void>()
  /** The number of frames that `receive` has returned. */
  private consumed = 0

  constructor(transport: Transport, role: Frame.Role) {
    this.transport = transport
    this.role = role
    const decoder = Frame.makeDecoder({ role, maxFrameSize: Number.MAX_SAFE_INTEGER, reservedBits: 7 })
    transport.start({
      onData: (chunk) => {
        this.reads.push(Uint8Array.from(chunk))
        this.received.push(...decoder.decode(chunk).frames)
        const arrived = this.arrival
        this.arrival = Deferred.makeUnsafe()
        Deferred.doneUnsafe(arrived, Effect.void)
      },
      onDrain: constVoid,
      onEnd: () => {
        this.receivedEof = true
      },
      onClose: () => {
        this.isClosed = true
        Deferred.doneUnsafe(this.closing, Effect.void)
      }
    })
  }

  send(...frames: ReadonlyArray<Frame.Frame>): void {
    const key = this.role === "client" ? maskKey : undefined
    this.sendBytes(concatBytes(frames.map((frame) => Frame.encode(frame, key))))
  }

  sendBytes(bytes: Uint8Array): void {
    this.transport.write([bytes])
  }

  /** Returns the next frame. Suspends until there is one, also after the end of the connection. */
  readonly receive: Effect.Effect<Frame.Frame> = Effect.suspend(() =>
    this.consumed < this.received.length
      ? Effect.sync(() => this.received[this.consumed++])
      : Effect.andThen(Deferred.await(this.arrival), this.receive)
  )

  /** Waits until the transport is closed. */
  readonly closed: Effect.Effect<void> = Deferred.await(this.closing)
}
