/**
 * Against the test server and the test client of libwebsockets, which do what
 * they do: the server sends texts back to all who speak its mirror protocol;
 * the client sends texts in that protocol, and prints what it gets in another.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Stream } from "effect"
import { Connection, type Extension, PerMessageDeflate } from "effect-ws"
import { contentOf, type Shape } from "../support/memory.ts"
import { serve } from "../support/net.ts"
import { withPeer } from "../support/peers.ts"
import { listening } from "../support/port.ts"
import { runProgram } from "../support/process.ts"
import { interop } from "./exchanges.ts"

withPeer("libwebsockets", (title) => {
  interop({
    title,
    roles: ["server"],
    protocols: ["lws-mirror-protocol"],
    cannot: {
      obey: "it does not obey requests",
      report: "it does not report how connections end",
      binary: "it mirrors binary as text",
      "long messages": "it mirrors each part that it reads as a message",
      "join fragments": "it mirrors each fragment as a message",
      "permessage-deflate": "its server does not accept it"
    },
    start: Effect.map(
      listening((port) => runProgram("libwebsockets-test-server", [`--port=${port}`, "-i", "lo"])),
      ({ port }) => ({ url: `ws://127.0.0.1:${port}`, ended: () => Effect.never })
    )
  })

  describe(`${title} is the client`, () => {
    // It connects twice, once for each protocol.
    const connect = (protocol: string, extensions: ReadonlyArray<Extension.Extension> = []) =>
      Effect.gen(function*() {
        const accepted = yield* Deferred.make<Shape>()
        const server = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            if (connection.subprotocol === protocol) yield* Deferred.succeed(accepted, connection)
            yield* connection.closed
          }),
          { serve: { protocols: ["lws-mirror-protocol", "dumb-increment-protocol"], extensions } }
        )
        // It is to last, and to print what it gets.
        const args = ["127.0.0.1", `--port=${server.port}`, "-l", "-d", "15"]
        const program = yield* runProgram("libwebsockets-test-client", args)
        const gone = Effect.flatMap(program.ended, () => Effect.die(new Error(program.output())))
        return { program, connection: yield* Effect.raceFirst(Deferred.await(accepted), gone) }
      })

    it.live("sends messages, and receives their echoes", () =>
      Effect.gen(function*() {
        const { connection } = yield* connect("lws-mirror-protocol")
        for (let i = 0; i < 100; i++) {
          const message = yield* connection.receive
          assert.match(String(contentOf(message)), /^[cd] #[0-9A-F]{6} /)
          yield* connection.send(message)
        }
        yield* connection.ping()
      }))

    it.live("receives texts, fragments and pings", () =>
      Effect.gen(function*() {
        const { connection, program } = yield* connect("dumb-increment-protocol")
        yield* connection.send("one")
        yield* connection.sendFragments(Stream.make("two", "three"))
        yield* connection.ping()
        yield* program.printed(/rx 3 'one'\n[^]*rx 3 'two'\n[^]*rx 5 'three'\n/)
      }))

    it.live("sends compressed messages, and receives their echoes", () =>
      Effect.gen(function*() {
        // What it sends is short.
        const deflate = PerMessageDeflate.make({ threshold: 0 })
        const { connection } = yield* connect("lws-mirror-protocol", [deflate])
        assert.deepStrictEqual(connection.extensions.map(({ name }) => name), ["permessage-deflate"])
        for (let i = 0; i < 100; i++) {
          const message = yield* connection.receive
          assert.match(String(contentOf(message)), /^[cd] #[0-9A-F]{6} /)
          yield* connection.send(message)
        }
        yield* connection.ping()
        const { received, sent } = yield* deflate.stats
        assert.isAbove(received.compressed, 0)
        assert.isBelow(sent.compressed, sent.uncompressed)
      }))

    for (const [code, reason] of [[1000, ""], [4000, "enough"]] as const) {
      it.live(`receives a close frame with ${code}`, () =>
        Effect.gen(function*() {
          const { connection } = yield* connect("dumb-increment-protocol")
          const ended = yield* connection.close(code, reason)
          assert.isTrue(ended.clean)
          assert.strictEqual(ended.received?.code, code)
        }))
    }
  })
})
