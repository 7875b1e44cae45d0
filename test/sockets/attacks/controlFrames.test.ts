/** Attacks with control frames: endless pings, false pongs, payloads that expose memory. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Connection, Frame } from "effect-ws"
import { expectAlive, hex, masked, serveEcho } from "../../support/attacks.ts"
import { handingOut, rawConnect, rawHandshake, requestText, splitHead } from "../../support/net.ts"
import { eventually, memoryInUse } from "../../support/resources.ts"
import { echo } from "../../support/serving.ts"

describe("attacks with control frames", () => {
  it.live(
    "endless pings from a peer that reads no pongs end with WriteTimeout in bounded memory (ws 8.23, CVE-2026-109932, CVE-2026-11586)",
    () =>
      Effect.gen(function*() {
        const server = yield* serveEcho({
          serve: { writeTimeout: "300 millis", closeTimeout: "300 millis", keepalive: false }
        })
        const before = yield* memoryInUse
        const peer = yield* rawHandshake(server.port)
        peer.socket.pause()
        const [connection] = yield* server.connections
        const pings = Buffer.alloc(131 * 1000, masked(Frame.ping(new Uint8Array(125))))
        let mostBuffered = 0
        while (server.ends.length === 0) {
          if (peer.socket.writable) peer.socket.write(pings)
          yield* eventually(() => peer.socket.writableLength === 0 || server.ends.length > 0)
          mostBuffered = Math.max(mostBuffered, (yield* connection.stats).bufferedAmount)
        }
        assert.deepStrictEqual(server.ends, ["WriteTimeout"])
        assert.isBelow(mostBuffered, 2 ** 20)
        peer.socket.destroy()
        assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
        yield* expectAlive(server)
      }),
    20_000
  )

  it.live("pongs that differ from the ping do not complete it, and a pong over 125 bytes fails with ControlFrameTooLong (CVE-2026-67292)", () =>
    Effect.gen(function*() {
      const { connection: opened, handler } = yield* handingOut
      const server = yield* serveEcho({ serve: { keepalive: false } }, handler)
      const peer = yield* rawHandshake(server.port)
      const connection = yield* opened
      const ping = yield* Effect.forkChild(Effect.exit(connection.ping("abc")), { startImmediately: true })
      yield* peer.untilFrames(1)
      peer.send(Frame.pong(Buffer.from("abcd")), Frame.pong(Buffer.from("ab")), Frame.pong(new Uint8Array(125)))
      yield* eventually(() => Effect.runSync(connection.stats).framesIn === 3)
      assert.isUndefined(ping.pollUnsafe())
      peer.write(Buffer.concat([hex("8a fe 007e 00000000"), Buffer.alloc(126)]))
      yield* peer.ended
      assert.strictEqual((yield* connection.closed).cause?._tag, "ControlFrameTooLong")
      yield* Fiber.join(ping)
    }))

  it.live("operations fail on a value that is not a payload, and send none of its memory (CVE-2026-45736, CVE-2016-10518)", () =>
    Effect.gen(function*() {
      const wrong = [100, 5000, { length: 5000 }, Array.from({ length: 5000 }), null, true] as ReadonlyArray<unknown>
      const operations: ReadonlyArray<
        (connection: Connection.Connection, value: never) => Effect.Effect<unknown, unknown>
      > = [
        (connection, value) => connection.close(1000, value),
        (connection, value) => connection.ping(value),
        (connection, value) => connection.send(value),
        (connection, value) => connection.sendAll([value]),
        (connection, value) => connection.sendFrame(new Frame.Frame(Frame.Opcode.Binary, value))
      ]
      let failed = 0
      const server = yield* serveEcho(
        {},
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          const { path } = connection.request
          if (path === "/") return yield* echo
          const [operation, value] = path.slice(1).split("/").map(Number)
          const exit = yield* Effect.exit(operations[operation](connection, wrong[value] as never))
          if (exit._tag === "Failure") failed++
        })
      )
      for (let operation = 0; operation < operations.length; operation++) {
        for (let value = 0; value < wrong.length; value++) {
          const peer = yield* rawConnect(server.port)
          peer.write(requestText({}, `GET /${operation}/${value} HTTP/1.1`))
          const { rest } = splitHead(yield* peer.until((received) => splitHead(received).rest.length > 1))
          assert.strictEqual(rest[0], 0x88, `${operation}, ${value}: ${rest.toString("hex")}`)
          peer.write(masked(Frame.close(1000)))
          assert.strictEqual((yield* peer.ended).length, splitHead(peer.received()).head.length + 4 + 2 + rest[1])
          assert.isAtMost(rest[1], 2)
        }
      }
      assert.strictEqual(failed, operations.length * wrong.length)
      yield* expectAlive(server)
    }))

  it.live("pongs repeat the empty payload and the one of 125 bytes exactly", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho()
      const peer = yield* rawHandshake(server.port)
      const full = Buffer.from(Array.from({ length: 125 }, (_, i) => i))
      peer.send(Frame.ping(new Uint8Array()), Frame.ping(full))
      yield* peer.untilFrames(2)
      assert.deepStrictEqual(splitHead(peer.received()).rest, Buffer.concat([hex("8a00 8a7d"), full]))
    }))
})
