/** Attacks on open connections: closing handshakes that do not end, silent peers, memory that messages retain. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { Connection, Frame, WebSocketClient } from "effect-ws"
import { expectAlive, masked, serveEcho } from "../../support/attacks.ts"
import { headEnd, rawConnect, rawHandshake, requestText, type Server } from "../../support/net.ts"
import { eventually, memoryInUse } from "../../support/resources.ts"
import { echo } from "../../support/serving.ts"

describe("attacks on open connections", () => {
  /** A server with short deadlines, and the connection of its first client at "/". */
  const serveHeld = Effect.gen(function*() {
    const held = yield* Deferred.make<Connection.Connection>()
    const server = yield* serveEcho(
      { serve: { closeTimeout: "300 millis", keepalive: { interval: "100 millis", timeout: "200 millis" } } },
      Effect.flatMap(Connection.Connection, (connection) =>
        connection.request.path === "/"
          ? Effect.andThen(Deferred.succeed(held, connection), connection.closed)
          : echo)
    )
    return { ...server, held: Deferred.await(held) }
  })
  const untilNoConnections = (server: Server) =>
    Effect.gen(function*() {
      while ((yield* server.connections).length > 0) yield* Effect.sleep(5)
    })

  it.live("both ends that close at once end cleanly, each with its own code", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const client = yield* WebSocketClient.connect(server.url, { keepalive: false })
      const connection = yield* server.held
      const [here, there] = yield* Effect.all([client.close(3001, "here"), connection.close(3002, "there")], {
        concurrency: 2
      })
      for (const end of [here, there]) {
        assert.isTrue(end.clean)
        assert.strictEqual(end.closedBy, "local")
      }
      assert.deepStrictEqual([here.code, there.code], [3001, 3002])
      assert.deepStrictEqual([here.received, there.received], [there.sent, here.sent])
      // A second close returns the same end.
      assert.deepStrictEqual(yield* client.close(1000), here)
      assert.deepStrictEqual(yield* connection.close(1000), there)
    }))

  it.live("close during sends loses no message that send has accepted", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const client = yield* WebSocketClient.connect(server.url, { keepalive: false })
      const connection = yield* server.held
      let accepted = 0
      const sending = yield* Effect.forkChild(
        Effect.exit(Effect.forever(Effect.andThen(connection.send("x".repeat(10_000)), Effect.sync(() => accepted++)))),
        { startImmediately: true }
      )
      const reading = yield* Effect.forkChild(
        Stream.runCount(client.messages).pipe(Effect.catchTag("ConnectionClosed", Effect.die))
      )
      yield* eventually(() => accepted >= 1000)
      const end = yield* connection.close(1000, "enough")
      yield* Fiber.join(sending)
      assert.isTrue(end.clean, end.message)
      assert.strictEqual(yield* Fiber.join(reading), accepted)
    }))

  it.live("close fails with CloseTimeout if the peer never answers the close frame", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      yield* rawHandshake(server.port)
      const connection = yield* server.held
      const end = yield* connection.close(1000)
      assert.strictEqual(end.cause?._tag, "CloseTimeout")
      yield* untilNoConnections(server)
      assert.deepStrictEqual(server.ends, ["CloseTimeout"])
    }))

  it.live("a server ends TCP if the peer answers the close frame and keeps TCP open", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const peer = yield* rawHandshake(server.port)
      const connection = yield* server.held
      const closing = yield* Effect.forkChild(connection.close(1000), { startImmediately: true })
      yield* peer.untilFrames(1)
      peer.send(Frame.close(1000))
      assert.isTrue((yield* Fiber.join(closing)).clean)
      yield* untilNoConnections(server)
      assert.deepStrictEqual(server.ends, ["1000"])
    }))

  it.live("a half-closed socket ends with UnexpectedEof, and a silent peer with KeepaliveTimeout", () =>
    Effect.gen(function*() {
      const server = yield* serveHeld
      const half = yield* rawHandshake(server.port)
      half.socket.end()
      assert.strictEqual((yield* (yield* server.held).closed).cause?._tag, "UnexpectedEof")
      yield* half.ended

      const mute = yield* serveHeld
      yield* rawHandshake(mute.port)
      assert.strictEqual((yield* (yield* mute.held).closed).cause?._tag, "KeepaliveTimeout")
      yield* untilNoConnections(mute)
    }))

  it.live("messages that a program keeps do not retain the buffers they were read into (ws 8.22, 8.23)", () =>
    Effect.gen(function*() {
      const kept: Array<Uint8Array> = []
      const server = yield* serveEcho(
        {},
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          if (connection.request.path !== "/keep") return yield* echo
          let count = 0
          yield* Stream.runForEach(connection.messages, (message) =>
            Effect.sync(() => {
              if (count++ % 1000 === 0) kept.push(message.bytes)
            }))
        })
      )
      const before = yield* memoryInUse
      const peer = yield* rawConnect(server.port)
      peer.write(requestText({}, "GET /keep HTTP/1.1"))
      yield* peer.until((received) => received.includes(headEnd))
      const thousand = Buffer.alloc(1000 * 70, masked(Frame.binary(new Uint8Array(64))))
      for (let i = 0; i < 200; i++) peer.write(thousand)
      yield* eventually(() => kept.length === 200)
      peer.write(masked(Frame.close(1000)))
      yield* peer.ended
      // 200 buffers of 64 KiB would be 12.5 MiB.
      assert.isBelow((yield* memoryInUse) - before, 4 * 2 ** 20)
      assert.strictEqual(kept.length, 200)
      yield* expectAlive(server)
    }))
})
