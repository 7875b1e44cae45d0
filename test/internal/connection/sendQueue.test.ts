import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scheduler } from "effect"
import { controlToken } from "../../../src/internal/connection/sendQueue.ts"
import { Steps } from "../../support/interruptAtEachStep.ts"
import { turn } from "../../support/memory.ts"
import { makeSendQueue } from "../../support/sendQueue.ts"

const full = "0123456789"
const drain = Number.POSITIVE_INFINITY

describe("SendQueue", () => {
  it.effect("writes in the order in which senders began to wait, without interrupted ones", () =>
    Effect.gen(function*() {
      const { network, sendQueue, send, wire } = makeSendQueue()
      yield* send(full)
      assert.isTrue(sendQueue.overHighWaterMark)
      const [a, b, c] = yield* Effect.forEach(
        ["a", "b", "c"],
        (text) => Effect.forkChild(send(text), { startImmediately: true })
      )
      yield* Fiber.interrupt(b)
      network.drain(drain)
      yield* Fiber.awaitAll([a, c])
      assert.deepStrictEqual(wire(), [full, "a", "c"])
    }))

  it.effect("writes control frames, but no data of other senders, between the frames of a message", () =>
    Effect.gen(function*() {
      const { sendQueue, send, wire } = makeSendQueue({ highWaterMark: 1000 })
      const message = {}
      sendQueue.beginMessage(message)
      const other = yield* Effect.forkChild(send("other"), { startImmediately: true })
      yield* send("first", message)
      yield* send("ping", controlToken)
      assert.isTrue(sendQueue.isMessageOf(message))
      sendQueue.endMessage({})
      yield* send("second", message)
      sendQueue.endMessage(message)
      yield* Fiber.join(other)
      assert.deepStrictEqual(wire(), ["first", "ping", "second", "other"])
    }))

  it.effect("fails senders once nothing can be sent any more, whether they wait or begin", () =>
    Effect.gen(function*() {
      const { end, sendQueue, send, wire } = makeSendQueue()
      yield* send(full)
      assert.isUndefined(sendQueue.closed)
      const waiting = yield* Effect.forkChild(send("a"), { startImmediately: true })
      end()
      const closed = yield* Effect.flip(Fiber.join(waiting))
      assert.strictEqual(closed.code, 1000)
      assert.deepStrictEqual(yield* Effect.flip(send("b")), closed)
      assert.deepStrictEqual(sendQueue.closed, closed)
      assert.deepStrictEqual(wire(), [full])
    }))

  describe("onWritable", () => {
    it.effect("calls a listener once, when the transport has drained", () =>
      Effect.gen(function*() {
        const { network, sendQueue, send, wire } = makeSendQueue()
        yield* send(full)
        let calls = 0
        sendQueue.onWritable(() => {
          calls++
          sendQueue.writeMessage(full)
        })
        assert.strictEqual(calls, 0)
        network.drain(drain)
        network.drain(drain)
        assert.strictEqual(calls, 1)
        assert.deepStrictEqual(wire(), [full, full])
      }))

    it.effect("calls listeners in order, and stops where one has filled the transport", () =>
      Effect.gen(function*() {
        const { network, sendQueue, send, wire } = makeSendQueue()
        yield* send(full)
        const write = (text: string) => () => {
          sendQueue.writeMessage(text)
          sendQueue.flush()
          sendQueue.onWritable(write(text.toUpperCase()))
        }
        sendQueue.onWritable(write("aaaaaaaaaa"))
        sendQueue.onWritable(write("bbbbbbbbbb"))
        for (let i = 0; i < 3; i++) network.drain(drain)
        assert.deepStrictEqual(wire(), [full, "aaaaaaaaaa", "bbbbbbbbbb", "AAAAAAAAAA"])
      }))

    it.effect("lets the senders that waited go first, and calls a listener when a message in fragments has ended", () =>
      Effect.gen(function*() {
        const { network, sendQueue, send, wire } = makeSendQueue()
        yield* send(full)
        sendQueue.onWritable(() => sendQueue.writeMessage("listener"))
        const waiting = yield* Effect.forkChild(send("sender"), { startImmediately: true })
        network.drain(drain)
        yield* Fiber.join(waiting)
        yield* turn
        network.drain(drain)
        const message = {}
        sendQueue.beginMessage(message)
        sendQueue.onWritable(() => sendQueue.writeMessage("later"))
        assert.deepStrictEqual(wire(), [full, "sender", "listener"])
        sendQueue.endMessage(message)
        assert.deepStrictEqual(wire().slice(3), ["later"])
      }))

    it.effect("does not call a listener once the connection has ended", () =>
      Effect.gen(function*() {
        const { end, network, sendQueue, send } = makeSendQueue()
        yield* send(full)
        sendQueue.onWritable(() => assert.fail("the connection has ended"))
        end()
        network.drain(drain)
        sendQueue.onDrain()
      }))
  })

  it("wakes a sender that has checked its turn, has yielded and is about to wait", () => {
    const withEventAt = (at: number, event: (made: ReturnType<typeof makeSendQueue>) => void) => {
      const made = makeSendQueue()
      Effect.runSync(made.send(full))
      const steps = new Steps()
      const fiber = Effect.runFork(
        Effect.provideService(Effect.andThen(Effect.void, made.send("a")), Scheduler.Scheduler, steps)
      )
      for (let count = 0; count < at; count++) steps.step()
      event(made)
      for (let count = 0; count < 100; count++) steps.step()
      return { exit: fiber.pollUnsafe(), wire: made.wire() }
    }
    for (let at = 0; at < 10; at++) {
      const drained = withEventAt(at, ({ network }) => network.drain(drain))
      assert.deepStrictEqual(drained, { exit: Exit.void, wire: [full, "a"] }, `drained after ${at} steps`)
      const ended = withEventAt(at, ({ end }) => end())
      assert.isTrue(ended.exit !== undefined && Exit.isFailure(ended.exit), `ended after ${at} steps`)
      // A message of several frames that begins before it is not interleaved.
      const locked = withEventAt(at, ({ network, sendQueue }) => {
        network.drain(drain)
        sendQueue.beginMessage(sendQueue)
      })
      assert.isTrue(locked.exit === undefined || locked.wire.length === 2)
    }
  })
})
