import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { type Connection, type ConnectionError, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { Closing } from "../../../src/internal/connection/closing.ts"
import { timeLimitsOf, Timeouts } from "../../../src/internal/connection/timeouts.ts"
import { turn } from "../../support/memory.ts"
import { makeSendQueueWithClock } from "../../support/sendQueue.ts"

/** Timeouts over a network of 10 bytes, whose closing tells the cause. */
const make = (options: Connection.Options = {}) =>
  Effect.map(makeSendQueueWithClock(), (made) => {
    const { host, network, protocol, sendQueue } = made
    const closingHost = {
      protocol,
      sendQueue,
      transport: network.transport,
      timers: host.timers,
      onClosing: () => timeouts.stop(),
      failWaiting: () => {},
      onEnded: undefined
    }
    const closing = new Closing(closingHost)
    const timeouts: Timeouts = new Timeouts({ sendQueue, closing, timers: host.timers }, timeLimitsOf(options))
    host.onHighWaterMark = () => void timeouts.onHighWaterMark()
    host.onBlocked = () => void timeouts.onBlocked()
    const fill = () => sendQueue.write(Frame.binary(new Uint8Array(10)))
    const cause = (): ConnectionError.ClosedCause["_tag"] | undefined => closing.closed?.cause?._tag
    return { ...made, cause, closing, fill, timeouts }
  })

const block = (send: (text: string) => Effect.Effect<void, unknown>) =>
  Effect.forkChild(Effect.ignore(send("a")), { startImmediately: true })

/** Adjusts the clock, and lets the final check of a watch run. */
const adjust = (duration: Duration.Input) => Effect.andThen(TestClock.adjust(duration), turn)

describe("Timeouts", () => {
  it.effect("fails with WriteTimeout, and destroys the transport, if no byte leaves for writeTimeout", () =>
    Effect.gen(function*() {
      const { cause, fill, network } = yield* make({ writeTimeout: "8 seconds" })
      fill()
      yield* adjust("7 seconds")
      assert.isUndefined(cause())
      yield* adjust("1 second")
      assert.deepStrictEqual([cause(), network.gone()], ["WriteTimeout", true])
    }))

  it.effect("watches again for WriteTimeout after a byte has left", () =>
    Effect.gen(function*() {
      const { cause, fill, network } = yield* make({ writeTimeout: "8 seconds" })
      fill()
      yield* adjust("7 seconds")
      network.drain(1)
      yield* adjust("8 seconds")
      assert.isUndefined(cause())
      yield* adjust("2 seconds")
      assert.strictEqual(cause(), "WriteTimeout")
    }))

  it.effect("ends the watch once the transport has drained, and begins another above the mark", () =>
    Effect.gen(function*() {
      const { cause, fill, network } = yield* make({ writeTimeout: "8 seconds" })
      fill()
      network.drain(Number.POSITIVE_INFINITY)
      yield* adjust("1 minute")
      assert.isUndefined(cause())
      fill()
      yield* adjust("8 seconds")
      assert.strictEqual(cause(), "WriteTimeout")
    }))

  it.effect("fails with SlowConsumer if a sender waits for slowConsumerTimeout, even if bytes leave", () =>
    Effect.gen(function*() {
      const { cause, fill, network, send } = yield* make({ slowConsumer: "close", slowConsumerTimeout: "8 seconds" })
      fill()
      yield* adjust("20 seconds")
      assert.isUndefined(cause())
      yield* block(send)
      yield* adjust("7 seconds")
      network.drain(1)
      assert.isUndefined(cause())
      yield* adjust("1 second")
      assert.deepStrictEqual([cause(), network.gone()], ["SlowConsumer", false])
    }))

  it.effect("watches again for SlowConsumer after the transport has drained", () =>
    Effect.gen(function*() {
      const { cause, fill, network, send } = yield* make({ slowConsumer: "close", slowConsumerTimeout: "8 seconds" })
      fill()
      yield* block(send)
      yield* adjust("5 seconds")
      network.drain(Number.POSITIVE_INFINITY)
      fill()
      yield* block(send)
      yield* adjust("7 seconds")
      assert.isUndefined(cause())
      yield* adjust("4 seconds")
      assert.strictEqual(cause(), "SlowConsumer")
    }))

  it.effect("lets senders wait with slowConsumer: \"wait\"", () =>
    Effect.gen(function*() {
      const { cause, fill, send } = yield* make({ slowConsumerTimeout: "8 seconds", writeTimeout: Infinity })
      fill()
      yield* block(send)
      yield* adjust("1 hour")
      assert.isUndefined(cause())
    }))

  it.effect("fails with IdleTimeout if the bytes of messages do not change", () =>
    Effect.gen(function*() {
      const { cause, timeouts } = yield* make()
      let messageBytes = 0
      timeouts.watchIdle(Duration.seconds(8), () => messageBytes)
      yield* adjust("7 seconds")
      messageBytes++
      yield* adjust("8 seconds")
      assert.isUndefined(cause())
      yield* adjust("2 seconds")
      assert.strictEqual(cause(), "IdleTimeout")
    }))

  it.effect("stops all watches when closing begins", () =>
    Effect.gen(function*() {
      const { cause, closing, fill, send, timeouts } = yield* make({
        slowConsumer: "close",
        slowConsumerTimeout: "1 second",
        writeTimeout: "1 second"
      })
      timeouts.watchIdle(Duration.seconds(1), () => 0)
      fill()
      yield* block(send)
      closing.close({ code: 1000, reason: "" })
      fill()
      yield* adjust("9 seconds")
      assert.isUndefined(cause())
      yield* adjust("1 second")
      assert.strictEqual(cause(), "CloseTimeout")
    }))
})
