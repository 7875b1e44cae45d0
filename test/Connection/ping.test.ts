import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Stream } from "effect"
import { Frame } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, makeRaw, opcodesOf, settle } from "../support/memory.ts"

const bytes = (...values: Array<number>) => Uint8Array.from(values)
const textOf = (frame: Frame.Frame) => Buffer.from(frame.payload).toString("utf8")

describe("ping (RFC 6455 §5.5.2)", () => {
  it.effect("gets its pong before the reply to the message within which it arrived (§5.4)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      yield* Effect.forkScoped(Stream.runForEach(connection.messages, connection.send))
      yield* settle
      peer.send(Frame.text("a", { fin: false }), Frame.ping(bytes(9)), Frame.continuation("b"))
      yield* settle
      assert.deepStrictEqual(opcodesOf(peer.received), [Frame.Opcode.Pong, Frame.Opcode.Text])
    }))

  it.effect("returns the round-trip time", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping())
      yield* settle
      yield* TestClock.adjust("30 millis")
      peer.send(Frame.pong(peer.received[0].payload))
      assert.strictEqual(Duration.toMillis(yield* Fiber.join(fiber)), 30)
    }))

  it.effect("takes a payload of up to 125 bytes", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping("hello"))
      yield* settle
      assert.strictEqual(textOf(peer.received[0]), "hello")
      peer.send(Frame.pong(peer.received[0].payload))
      yield* Fiber.join(fiber)
      const error = yield* Effect.flip(connection.ping(new Uint8Array(126)))
      assert.strictEqual(error._tag, "ControlPayloadTooLong")
    }))

  it.effect("matches a pong to its ping and all pings before it (§5.5.3)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fibers = yield* Effect.forEach(["a", "b", "c"], (payload) => Effect.forkChild(connection.ping(payload)))
      yield* settle
      peer.send(Frame.pong(new TextEncoder().encode("b")))
      yield* Fiber.join(fibers[0])
      yield* Fiber.join(fibers[1])
      yield* settle
      assert.isUndefined(fibers[2].pollUnsafe())
      peer.send(Frame.pong(new TextEncoder().encode("c")))
      yield* Fiber.join(fibers[2])
    }))

  it.effect("ignores pongs that no ping awaits", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.send(Frame.pong(), Frame.pong(bytes(1, 2)), Frame.text("x"))
      assert.strictEqual(contentOf(yield* connection.receive), "x")
    }))

  it.effect("can be interrupted, and then ignores its pong", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping("a"))
      yield* settle
      yield* Fiber.interrupt(fiber)
      peer.send(Frame.pong(new TextEncoder().encode("a")), Frame.text("x"))
      assert.strictEqual(contentOf(yield* connection.receive), "x")
    }))

  it.effect("fails with TooManyPings above maxUnansweredPings, if the peer never replies", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const outcomes: Record<string, number> = {}
      const count = (name: string) => Effect.sync(() => void (outcomes[name] = (outcomes[name] ?? 0) + 1))
      const careless = yield* Effect.forkChild(Effect.gen(function*() {
        for (let i = 0; i < 10_000; i++) {
          yield* Effect.forkChild(Effect.matchEffect(connection.ping(), {
            onFailure: ({ _tag }) => count(_tag),
            onSuccess: () => count("answered")
          }))
          yield* Effect.sleep("1 millis")
        }
        return yield* Effect.never
      }))
      yield* TestClock.adjust("10 seconds")
      const pings = () => peer.received.filter(({ opcode }) => opcode === Frame.Opcode.Ping).length
      assert.deepStrictEqual(outcomes, { TooManyPings: 9900 })
      assert.strictEqual(pings(), 100)
      // One pong answers all before it, and there is room again (§5.5.3).
      peer.send(Frame.pong(peer.received[98].payload))
      yield* settle
      assert.deepStrictEqual(outcomes, { TooManyPings: 9900, answered: 99 })
      const late = yield* Effect.replicateEffect(Effect.forkChild(connection.ping()), 100)
      yield* settle
      assert.strictEqual(pings(), 199)
      assert.strictEqual((yield* Effect.flip(Fiber.join(late[99])))._tag, "TooManyPings")
      // So there is when they are given up.
      yield* Fiber.interrupt(careless)
      yield* Fiber.interruptAll(late)
      yield* Effect.timeoutOption(connection.ping(), "1 seconds").pipe(
        Effect.forkChild,
        Effect.replicateEffect(100)
      )
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(pings(), 299)
      const last = yield* Effect.forkChild(connection.ping("last"))
      yield* settle
      peer.send(Frame.pong(new TextEncoder().encode("last")))
      yield* Fiber.join(last)
    }))

  it.effect("fails when the connection ends before the pong", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      const fiber = yield* Effect.forkChild(connection.ping())
      yield* settle
      peer.transport.destroy()
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error._tag, "ConnectionClosed")
    }))
})
