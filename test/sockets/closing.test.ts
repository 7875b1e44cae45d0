/**
 * The end of a connection during a transfer, over real sockets and in memory: both
 * ends observe the same end, and no accepted message is lost. Peers that violate the
 * closing handshake are in attacks.test.ts and test/Connection, networks that fail in faults.test.ts.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Stream } from "effect"
import { Connection, PerMessageDeflate, WebSocketClient, WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import type { Shape } from "../support/memory.ts"
import { handingOut, serve } from "../support/net.ts"
import { eventually } from "../support/resources.ts"

type Options = Connection.Options & { readonly extensions: ReadonlyArray<PerMessageDeflate.PerMessageDeflate> }
type Handler = Effect.Effect<unknown, never, Connection.Connection>

const networks = {
  "over sockets": (handler: Handler, options: Options) =>
    Effect.flatMap(serve(handler, { serve: options }), ({ url }) => WebSocketClient.connect(url, options)),
  "in memory": (handler: Handler, options: Options) =>
    Effect.flatMap(Layer.build(Testing.layer()), (network) =>
      Effect.gen(function*() {
        yield* Effect.flatMap(WebSocketServer.WebSocketServer, (server) => server.serve(handler, options))
        return yield* WebSocketClient.connect("ws://anywhere/", options)
      }).pipe(Effect.provide(network)))
}

/** Long enough that inflating it takes several turns. */
const long = new Uint8Array(12 * 2 ** 20)

for (const [where, connect] of Object.entries(networks)) {
  describe(`closing ${where}`, () => {
    /** Both ends of a connection. */
    const open = Effect.gen(function*() {
      const extension = PerMessageDeflate.make()
      const handler = yield* handingOut
      const client = yield* connect(handler.handler, { extensions: [extension], keepalive: false })
      const server = yield* handler.connection
      const inflating = Effect.gen(function*() {
        while ((yield* extension.stats).inflaters === 0) yield* Effect.yieldNow
      })
      return { client, server, inflating }
    })

    const sameAtBothEnds = (client: Shape, server: Shape) =>
      Effect.gen(function*() {
        const here = yield* client.closed
        const there = yield* server.closed
        assert.isTrue(here.clean && there.clean, `${here.message}; ${there.message}`)
        assert.deepStrictEqual([here.sent, here.received], [there.received, there.sent])
        return [here.closedBy, there.closedBy]
      })

    for (const closer of ["the sender", "the receiver"]) {
      it.live(`delivers all messages before the end, closed by ${closer} during the transfer`, () =>
        Effect.gen(function*() {
          const { client, server } = yield* open
          let accepted = 0
          const sending = yield* Effect.forkChild(
            Effect.flip(Effect.forever(
              Effect.andThen(server.send("x".repeat(1000), { compress: false }), Effect.sync(() => accepted++))
            )),
            { startImmediately: true }
          )
          let received = 0
          const receiving = yield* Effect.forkChild(
            Effect.exit(Stream.runForEach(client.messages, () => Effect.sync(() => received++)))
          )
          yield* eventually(() => received >= 500)
          const closing = closer === "the sender" ? server : client
          const end = yield* closing.close(1000, "enough")
          assert.strictEqual(end, yield* closing.closed)
          assert.deepStrictEqual(
            yield* sameAtBothEnds(client, server),
            closer === "the sender" ? ["remote", "local"] : ["local", "remote"]
          )
          // A sender fails at once, whether or not the other end has replied.
          assert.deepStrictEqual((yield* Fiber.join(sending)).sent, (yield* server.closed).sent)
          yield* Fiber.join(receiving)
          // The end that closes keeps no more than its receive queue holds.
          if (closer === "the sender") assert.strictEqual(received, accepted)
          else assert.isAtMost(received, accepted)
        }))
    }

    it.live("delivers the message that is being inflated, and then no more", () =>
      Effect.gen(function*() {
        const { client, inflating, server } = yield* open
        yield* server.send(long)
        const receiving = yield* Effect.forkChild(Effect.exit(client.receive), { startImmediately: true })
        yield* inflating
        assert.isUndefined(receiving.pollUnsafe())
        yield* client.close(1000)
        assert.deepStrictEqual(yield* sameAtBothEnds(client, server), ["local", "remote"])
        const exit = yield* Fiber.join(receiving)
        assert.isTrue(Exit.isSuccess(exit))
        if (Exit.isSuccess(exit)) assert.strictEqual(exit.value.bytes.length, long.length)
        assert.strictEqual(yield* Effect.flip(client.receive), yield* client.closed)
      }))

    it.live("receives the close frame behind a message that is being inflated", () =>
      Effect.gen(function*() {
        const { client, inflating, server } = yield* open
        yield* server.send(long)
        yield* server.send("last")
        const closing = yield* Effect.forkChild(server.close(1000))
        const receiving = yield* Effect.forkChild(Effect.replicateEffect(client.receive, 2))
        yield* inflating
        const [first, second] = yield* Fiber.join(receiving)
        assert.deepStrictEqual([first.bytes.length, second.bytes.length], [long.length, 4])
        assert.strictEqual(yield* Effect.flip(client.receive), yield* client.closed)
        assert.isTrue((yield* Fiber.join(closing)).clean)
        assert.deepStrictEqual(yield* sameAtBothEnds(client, server), ["remote", "local"])
      }))
  })
}
