import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { ConnectionError, Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { Closing, isUnanswered as unanswered } from "../../../src/internal/connection/closing.ts"
import { turn } from "../../support/memory.ts"
import { makeSendQueueWithClock } from "../../support/sendQueue.ts"

/** A closing with a timeout of 3 seconds, whose host records its calls. */
const make = (role: Frame.Role = "server") =>
  Effect.map(makeSendQueueWithClock({ role }), (made) => {
    const { host, network, protocol, sendQueue } = made
    const calls: Array<string> = []
    const closing = new Closing(
      {
        protocol,
        sendQueue,
        transport: network.transport,
        timers: host.timers,
        onClosing: () => void calls.push("onClosing"),
        failWaiting: () => {
          calls.push("failWaiting")
          sendQueue.close()
        },
        onEnded: () => void calls.push("onEnded")
      },
      "3 seconds"
    )
    const receive = (frame: Frame.Frame) => {
      const { close } = protocol.receive(Frame.encode(frame, role === "server" ? 0x12345678 : undefined))
      if (close !== undefined) closing.reply(close)
      else closing.begin()
    }
    const closeFrames = () => made.frames().map(({ payload }) => Frame.readClose(payload))
    return { ...made, calls, closing, closeFrames, receive }
  })

const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })
const normal = { code: 1000, reason: "" }
const failure = new ConnectionError.MessageAborted()

describe("isUnanswered", () => {
  it("returns whether the peer's close frame waits for a reply, which a cause rules out", () => {
    const frame = { code: 1000, reason: "" }
    const isUnanswered = (sent: boolean, received: boolean, cause: boolean) =>
      unanswered(
        new ConnectionError.ConnectionClosed({
          sent: sent ? frame : undefined,
          received: received ? frame : undefined,
          closedBy: undefined,
          cause: cause ? failure : undefined
        })
      )
    assert.isTrue(isUnanswered(false, true, false))
    for (const [sent, received, cause] of [[false, false, false], [true, true, false], [false, true, true]]) {
      assert.isFalse(isUnanswered(sent, received, cause))
    }
  })
})

describe("Closing (RFC 6455 §7)", () => {
  it.effect("sends one close frame, and settles once the peer has replied", () =>
    Effect.gen(function*() {
      const { calls, closeFrames, closing, network, receive } = yield* make()
      const ended = yield* start(closing.ended.await)
      closing.close(normal)
      closing.close({ code: 4000, reason: "later" })
      assert.deepStrictEqual([calls, closing.closed, closing.code], [["onClosing"], undefined, 1000])
      receive(Frame.close(1000))
      assert.deepStrictEqual(calls, ["onClosing", "onClosing", "failWaiting", "onEnded"])
      assert.isTrue((yield* Fiber.join(ended)).clean)
      assert.deepStrictEqual([closeFrames(), network.ended()], [[normal], true])
    }))

  for (const role of ["server", "client"] as const) {
    it.effect(`ends the transport ${role === "server" ? "at once" : "after the server"} as a ${role} (§7.1.1)`, () =>
      Effect.gen(function*() {
        const { closing, network, receive } = yield* make(role)
        receive(Frame.close(1000))
        assert.deepStrictEqual([closing.closed?.clean, network.ended()], [true, role === "server"])
        closing.onEof()
        assert.isTrue(network.ended())
      }))
  }

  it.effect("waits for no reply after a failure, and names the cause in the close frame (§7.1.7)", () =>
    Effect.gen(function*() {
      const { calls, closeFrames, closing } = yield* make()
      closing.fail(1011, failure)
      assert.deepStrictEqual(calls, ["onClosing", "failWaiting", "onEnded"])
      assert.deepStrictEqual(closeFrames(), [{ code: 1011, reason: "MessageAborted" }])
      assert.strictEqual(closing.closed?.cause, failure)
    }))

  it.effect("destroys the transport when it cuts the connection off", () =>
    Effect.gen(function*() {
      const { closeFrames, closing, network } = yield* make()
      closing.cutOff(1008, failure)
      assert.deepStrictEqual([closeFrames().length, network.gone()], [1, true])
    }))

  it.effect("fails with CloseTimeout, and destroys the transport, after closeTimeout", () =>
    Effect.gen(function*() {
      const { calls, closing, network } = yield* make()
      closing.close(normal)
      yield* TestClock.adjust("2999 millis")
      assert.deepStrictEqual([closing.closed, network.gone()], [undefined, false])
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(closing.closed?.cause?._tag, "CloseTimeout")
      assert.deepStrictEqual([calls.slice(1), network.gone()], [["failWaiting", "onEnded"], true])
    }))

  it.effect("cancels the deadline when the transport is closed", () =>
    Effect.gen(function*() {
      const { calls, closing, network } = yield* make()
      closing.close(normal)
      const closed = closing.onTransportClosed(undefined)
      assert.strictEqual(closed.cause?._tag, "UnexpectedEof")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([calls.filter((call) => call === "onEnded").length, network.gone()], [1, false])
    }))

  it.effect("keeps the cause of the transport if no close frame was received", () =>
    Effect.gen(function*() {
      const { closing } = yield* make()
      const error = new ConnectionError.TransportError({ code: "ECONNRESET", cause: new Error("reset") })
      assert.strictEqual(closing.onTransportClosed(error).cause, error)
    }))

  it.effect("replies behind senders that wait, once the last of them has written (§5.5.1)", () =>
    Effect.gen(function*() {
      const { closing, host, network, receive, send, wire } = yield* make()
      host.onNoneWaiting = () => void closing.onNoneWaiting()
      yield* send("0123456789")
      const waiting = yield* start(send("a"))
      receive(Frame.close())
      assert.strictEqual(closing.code, undefined)
      network.drain(Number.POSITIVE_INFINITY)
      yield* Fiber.join(waiting)
      yield* turn
      assert.deepStrictEqual(wire(), ["0123456789", "a", ""])
      assert.isTrue(closing.closed?.clean)
    }))

  for (const event of ["onEof", "onTransportClosed"] as const) {
    it.effect(`sends a reply that waits, and is clean, on ${event}`, () =>
      Effect.gen(function*() {
        const { closing, receive, send } = yield* make()
        yield* send("0123456789")
        const waiting = yield* start(send("a"))
        receive(Frame.close())
        closing[event](undefined)
        assert.isTrue(closing.closed?.clean)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Fiber.join(waiting))))
      }))
  }

  it.effect("recognizes its own closure among errors and their causes", () =>
    Effect.gen(function*() {
      const { closing } = yield* make()
      const other = new ConnectionError.ConnectionClosed({
        sent: undefined,
        received: undefined,
        closedBy: undefined,
        cause: undefined
      })
      closing.fail(1011, failure)
      const { closed } = closing
      const circle: Error = new Error("a")
      circle.cause = new Error("b", { cause: circle })
      const errors = [closed, new Error("c", { cause: closed }), other, new Error("d"), circle, undefined]
      assert.deepStrictEqual(errors.map((error) => closing.isExpectedEnd(error)), [
        true,
        true,
        false,
        false,
        false,
        false
      ])
    }))

  it.effect("counts as observed once a program waits for the end or the transport", () =>
    Effect.gen(function*() {
      for (const name of ["ended", "transportClosed"] as const) {
        const { closing } = yield* make()
        assert.isFalse(closing.isObserved)
        yield* start(closing[name].await)
        assert.isTrue(closing.isObserved)
      }
    }))
})
