import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { Frame, WebSocketClient } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { contentOf } from "../../support/memory.ts"

describe("a peer", () => {
  it.effect("sends valid and invalid frames and bytes", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* Testing.makeConnection({ role: "server" })
      yield* peer.send(Frame.text("a", { fin: false }), Frame.continuation("b"))
      assert.strictEqual(contentOf(yield* connection.receive), "ab")
      yield* peer.sendBytes(Frame.encode(Frame.text("not masked")))
      const close = yield* peer.receive
      assert.deepStrictEqual(Frame.readClose(close.payload), { code: 1002, reason: "UnmaskedFrame" })
      assert.deepInclude((yield* connection.closed).cause, { _tag: "UnmaskedFrame" })
      yield* Testing.settle
      assert.isTrue(yield* peer.receivedEof)
    }))

  it.effect("tells the bytes of each read, and a copy of them", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* Testing.makeConnection({ role: "server", keepalive: false })
      yield* connection.send("ab")
      yield* peer.receive
      yield* connection.send("c")
      yield* peer.receive
      const expected = [[0x81, 2, 0x61, 0x62], [0x81, 1, 0x63]]
      assert.deepStrictEqual((yield* peer.reads).map((read) => Array.from(read)), expected)
      assert.notStrictEqual(yield* peer.reads, yield* peer.reads)
    }))

  it.effect("can pause reading, end its side, and destroy the transport", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* Testing.makeConnection({ role: "client", keepalive: false })
      yield* peer.pause
      const sending = yield* Effect.forkChild(
        Effect.replicateEffect(connection.send(new Uint8Array(10_000)), 20, { discard: true })
      )
      yield* Testing.settle
      assert.isUndefined(sending.pollUnsafe())
      assert.strictEqual((yield* peer.received).length, 0)
      yield* peer.resume
      yield* Fiber.join(sending)
      for (let i = 0; i < 20; i++) assert.strictEqual((yield* peer.receive).payload.length, 10_000)
      yield* peer.end
      assert.deepInclude((yield* connection.closed).cause, { _tag: "UnexpectedEof" })
      yield* peer.destroy
      yield* peer.closed
    }))

  it.effect("a peer that reads nothing does not delay the close of the Scope", () =>
    Effect.gen(function*() {
      const closed = yield* Effect.scoped(Effect.gen(function*() {
        const { connection, peer } = yield* Testing.makeConnection({ role: "server" })
        yield* peer.pause
        const sending = yield* Effect.forkChild(Effect.forever(connection.send(new Uint8Array(50_000))))
        yield* Testing.settle
        assert.isAbove((yield* connection.stats).bufferedAmount, 0)
        yield* Fiber.interrupt(sending)
        return connection.closed
      }))
      assert.isDefined((yield* closed).cause)
    }))

  it.effect("an interrupted receive leaves the frame to the next one", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* Testing.makeConnection({ role: "client", keepalive: false })
      const waiting = yield* Effect.forkChild(peer.receive, { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      yield* connection.send("x")
      assert.strictEqual((yield* peer.receive).payload.length, 1)
    }))

  it.effect("layerPeer replaces the servers of a client program", () =>
    Effect.gen(function*() {
      const heard = yield* Deferred.make<string>()
      const script = (peer: Testing.Peer, url: string) =>
        Effect.gen(function*() {
          const { payload } = yield* peer.receive
          yield* Deferred.succeed(heard, `${url} ${Buffer.from(payload)}`)
          yield* peer.send(Frame.text("welcome"))
          yield* peer.destroy
        })
      yield* Effect.gen(function*() {
        const connection = yield* WebSocketClient.connect("ws://anywhere/")
        yield* connection.send("hello")
        assert.strictEqual(contentOf(yield* connection.receive), "welcome")
        assert.deepInclude((yield* connection.closed).cause, { _tag: "UnexpectedEof" })
      }).pipe(Effect.provide(Testing.layerPeer(script)))
      assert.strictEqual(yield* Deferred.await(heard), "ws://anywhere/ hello")
    }))
})
