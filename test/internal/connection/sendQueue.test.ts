import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Scheduler } from "effect"
import { Frame } from "effect-ws"
import { ConnectionMetrics } from "../../../src/internal/telemetry/metrics.ts"
import { controlToken, SendQueue } from "../../../src/internal/connection/sendQueue.ts"
import { Protocol } from "../../../src/internal/protocol/connectionProtocol.ts"
import { Timers } from "../../../src/internal/runtime/timers.ts"
import { makeNetwork } from "../../fuzz/transport.ts"
import { parse } from "../../fuzz/wire.ts"
import { Steps } from "../../support/interruptAtEachStep.ts"

const make = (
  options: { readonly role?: Frame.Role; readonly highWaterMark?: number; readonly coalesce?: boolean } = {}
) => {
  const { coalesce = false, highWaterMark = 10, role = "server" } = options
  const network = makeNetwork(highWaterMark)
  network.transport.start({ onData: () => {}, onDrain: () => outbox.drained(), onEnd: () => {}, onClose: () => {} })
  const codec = Frame.makeCodec()
  const protocol = new Protocol(role, codec, {})
  const context = Context.empty()
  const meter = ConnectionMetrics.of(context, role)
  const owner = {
    meter,
    timers: Timers.of(context),
    onHighWaterMark: () => {},
    onBlocked: () => {},
    onTold: () => {},
    onNoneWaiting: () => {}
  }
  const maskKey = role === "client" ? codec.maskKey : undefined
  const outbox = new SendQueue(owner, network.transport, protocol, { coalesce, maskKey })
  const send = (text: string, sender?: object | typeof controlToken) =>
    outbox.send(() => Effect.sync(() => outbox.write(Frame.text(text))), sender)
  const wire = () =>
    parse(Buffer.concat(network.writes), role).frames.map(({ payload }) => Buffer.from(payload).toString())
  const end = () => {
    protocol.close({ code: 1000, reason: "" })
    outbox.close()
  }
  return { network, outbox, send, wire, end }
}

const full = "0123456789"
const drain = Number.POSITIVE_INFINITY

describe("Outbox", () => {
  for (const role of ["server", "client"] as const) {
    it.effect(`writes frames of any size as a ${role} must`, () =>
      Effect.gen(function*() {
        const { network, outbox, send, wire } = make({ role, highWaterMark: 1_000_000 })
        const texts = ["", "a", "b".repeat(4096), "c".repeat(4097), "d".repeat(70_000), "e"]
        for (const text of texts) yield* send(text)
        assert.deepStrictEqual(wire(), texts)
        assert.deepStrictEqual([outbox.framesOut, outbox.bytesOut], [
          texts.length,
          Buffer.concat(network.writes).length
        ])
      }))
  }

  it.effect("writes what is sent in one turn at once", () =>
    Effect.gen(function*() {
      const { network, outbox, send, wire } = make({ coalesce: true })
      yield* send("a")
      yield* send("b")
      assert.deepStrictEqual([network.writes.length, outbox.bufferedAmount], [0, 6])
      yield* Effect.promise(() => Promise.resolve())
      assert.deepStrictEqual([network.writes.length, wire()], [1, ["a", "b"]])
      outbox.cork()
      yield* send("c", controlToken)
      outbox.uncork()
      assert.deepStrictEqual([network.writes.length, wire()], [2, ["a", "b", "c"]])
    }))

  it.effect("does not let two connections mix what they collect", () =>
    Effect.gen(function*() {
      const [one, two] = [make({ coalesce: true, highWaterMark: 1000 }), make({ coalesce: true, highWaterMark: 1000 })]
      yield* one.send("a")
      yield* two.send("x")
      yield* one.send("b")
      yield* Effect.promise(() => Promise.resolve())
      assert.deepStrictEqual([one.wire(), two.wire()], [["a", "b"], ["x"]])
    }))

  it.effect("lets one wait after the other for room", () =>
    Effect.gen(function*() {
      const { network, outbox, send, wire } = make()
      yield* send(full)
      assert.isTrue(outbox.overHighWaterMark)
      const [a, b, c] = yield* Effect.forEach(
        ["a", "b", "c"],
        (text) => Effect.forkChild(send(text), { startImmediately: true })
      )
      yield* Fiber.interrupt(b)
      network.drain(drain)
      yield* Fiber.awaitAll([a, c])
      assert.deepStrictEqual(wire(), [full, "a", "c"])
    }))

  it.effect("keeps others out while a message is sent in fragments, but for control frames", () =>
    Effect.gen(function*() {
      const { outbox, send, wire } = make({ highWaterMark: 1000 })
      const sender = {}
      outbox.beginMessage(sender)
      const other = yield* Effect.forkChild(send("other"), { startImmediately: true })
      yield* send("first", sender)
      yield* send("ping", controlToken)
      assert.isTrue(outbox.isMessageOf(sender))
      outbox.endMessage({})
      yield* send("second", sender)
      outbox.endMessage(sender)
      yield* Fiber.join(other)
      assert.deepStrictEqual(wire(), ["first", "ping", "second", "other"])
    }))

  it.effect("lets nobody wait, and sends nothing, when nothing can be sent any more", () =>
    Effect.gen(function*() {
      const { end, outbox, send, wire } = make()
      yield* send(full)
      assert.isUndefined(outbox.closed)
      const waiting = yield* Effect.forkChild(send("a"), { startImmediately: true })
      end()
      const closed = yield* Effect.flip(Fiber.join(waiting))
      assert.strictEqual(closed.code, 1000)
      assert.deepStrictEqual(yield* Effect.flip(send("b")), closed)
      assert.deepStrictEqual(outbox.closed, closed)
      assert.deepStrictEqual(wire(), [full])
    }))

  it("wakes whoever looked, was made to yield, and is about to wait", () => {
    const withEventAt = (at: number, event: (made: ReturnType<typeof make>) => void) => {
      const made = make()
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
      assert.deepStrictEqual(drained, { exit: Exit.void, wire: [full, "a"] }, `room after ${at} steps`)
      const ended = withEventAt(at, ({ end }) => end())
      assert.isTrue(ended.exit !== undefined && Exit.isFailure(ended.exit), `the end after ${at} steps`)
      // Whoever was before it in a message of several frames is not disturbed.
      const locked = withEventAt(at, ({ network, outbox }) => {
        network.drain(drain)
        outbox.beginMessage(outbox)
      })
      assert.isTrue(locked.exit === undefined || locked.wire.length === 2)
    }
  })
})
