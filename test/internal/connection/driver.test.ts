import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Connection, Frame, type Transport } from "effect-ws"

/** A transport that records its calls, and delivers what the test gives it. */
const makeTransport = () => {
  const calls: Array<string> = []
  let receiver: Transport.Receiver | undefined
  const transport: Transport.Transport = {
    start: (started) => void (receiver = started),
    write: () => true,
    pause: () => void calls.push("pause"),
    resume: () => void calls.push("resume"),
    end: () => {
      calls.push("end")
      queueMicrotask(() => receiver!.onClose(undefined))
    },
    destroy: () => {
      calls.push("destroy")
      receiver!.onClose(undefined)
    },
    bufferedAmount: () => 0
  }
  const deliver = (...frames: ReadonlyArray<Frame.Frame>) =>
    receiver!.onData(Buffer.concat(frames.map((frame) => Frame.encode(frame, 7))))
  return { calls, deliver, transport }
}

const long = Frame.text("x".repeat(1000))

describe("Driver", () => {
  const make = (options?: Connection.Options) =>
    Effect.gen(function*() {
      const made = makeTransport()
      const connection = yield* Connection.make(made.transport, {
        role: "server",
        keepalive: false,
        inboundHighWaterMark: 1000,
        ...options
      })
      return { ...made, connection }
    })

  it.effect("pauses the transport once above the high-water mark, and resumes it once it has drained, each time", () =>
    Effect.gen(function*() {
      const { calls, connection, deliver } = yield* make({ closeTimeout: 0 })
      for (let round = 0; round < 3; round++) {
        calls.length = 0
        deliver(long)
        deliver(long)
        assert.deepStrictEqual(calls, ["pause"])
        yield* connection.receive
        yield* connection.receive
        assert.deepStrictEqual(calls, ["pause", "resume"])
      }
    }))

  it.effect("resumes a paused transport when this end closes, to read the close frame of the peer", () =>
    Effect.gen(function*() {
      const { calls, connection, deliver } = yield* make()
      deliver(long, long)
      assert.deepStrictEqual(calls, ["pause"])
      const closing = yield* Effect.forkChild(connection.close(1000), { startImmediately: true })
      assert.include(calls, "resume")
      deliver(Frame.close(1000))
      assert.isTrue((yield* Fiber.join(closing)).clean)
    }))
})
