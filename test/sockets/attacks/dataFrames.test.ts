/** Attacks with data frames: invalid lengths, endless fragments, predictable mask keys. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Frame, WebSocketClient } from "effect-ws"
import { closeCodeAfter, expectAlive, hex, masked, serveEcho } from "../../support/attacks.ts"
import { turn } from "../../support/memory.ts"
import { rawHandshake, rawServer, splitHead, upgradeResponse } from "../../support/net.ts"
import { eventually, memoryInUse } from "../../support/resources.ts"

describe("attacks with data frames", () => {
  it.live("a server closes with 1002 or 1009 if a frame declares an invalid or excessive length (CVE-2026-1528, CVE-2020-27813, CVE-2026-50161)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho()
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 8000000000000000 00000000")), 1002)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff ffffffffffffffff 00000000")), 1002)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 7fffffffffffffff 00000000")), 1009)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 0020000000000000 00000000")), 1009)
      assert.strictEqual(yield* closeCodeAfter(server, hex("82 ff 0000000001000001 00000000")), 1009)
      yield* expectAlive(server)
    }))

  it.live("a server allocates no memory for declared payloads that never arrive (CVE-2022-35922, CVE-2016-10542)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho()
      const before = yield* memoryInUse
      const peers = yield* Effect.replicateEffect(rawHandshake(server.port), 50)
      // 16 MiB each: the default of maxMessageSize.
      for (const peer of peers) peer.write(hex("82 ff 0000000001000000 00000000 01"))
      const connections = yield* server.connections
      yield* eventually(() => connections.every(({ stats }) => Effect.runSync(stats).bytesIn === 15))
      assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
      yield* expectAlive(server)
    }))

  it.live(
    "a server ends a message of endless empty fragments with TooManyFragments (CVE-2026-48779, CVE-2026-62389, CVE-2026-12151, CVE-2026-123817)",
    () =>
      Effect.gen(function*() {
        const server = yield* serveEcho()
        const before = yield* memoryInUse
        const empty = Buffer.alloc(65_536 * 6, masked(Frame.continuation("", { fin: false })))
        const peer = yield* rawHandshake(server.port)
        peer.send(Frame.text("", { fin: false }))
        while (peer.socket.writable && server.ends.length === 0) {
          if (!peer.socket.write(empty)) {
            yield* eventually(() => peer.socket.writableLength === 0 || server.ends.length > 0)
          }
        }
        assert.deepStrictEqual(server.ends, ["TooManyFragments"])
        assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
        yield* expectAlive(server)
      })
  )

  it.live("a server receives a message of 65,536 fragments as one message", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho()
      const peer = yield* rawHandshake(server.port)
      const part = "x".repeat(64)
      peer.send(Frame.text(part, { fin: false }))
      const middle = masked(Frame.continuation(part, { fin: false }))
      peer.write(Buffer.alloc(middle.length * 65_534, middle))
      peer.send(Frame.continuation(part))
      const size = 65_536 * 64
      const answer = splitHead(yield* peer.until((received) => splitHead(received).rest.length === size + 10)).rest
      assert.isTrue(answer.subarray(10).equals(Buffer.alloc(size, "x")))
    }))

  it.live("a message that arrives byte by byte takes less than 1 MiB", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho()
      const peer = yield* rawHandshake(server.port)
      const [connection] = yield* server.connections
      const before = yield* memoryInUse
      const frame = masked(Frame.binary(new Uint8Array(5000)))
      for (let i = 0; i + 1 < frame.length; i++) {
        peer.write(frame.subarray(i, i + 1))
        const received = Effect.map(connection.stats, ({ bytesIn }) => bytesIn > i)
        while (!(yield* received)) yield* turn
      }
      assert.isBelow((yield* memoryInUse) - before, 2 ** 20)
      peer.write(frame.subarray(-1))
      assert.strictEqual((yield* peer.untilFrames(1))[0].payload.length, 5000)
    }), 20_000)

  it.live("maxMessageSize limits the message, not each frame (CVE-2026-9675, CVE-2014-0193)", () =>
    Effect.gen(function*() {
      const server = yield* serveEcho({ serve: { maxMessageSize: 1000 } })
      const part = new Uint8Array(400)
      const fragments = (last: Uint8Array) =>
        masked(Frame.binary(part, { fin: false }), Frame.continuation(part, { fin: false }), Frame.continuation(last))
      assert.strictEqual(yield* closeCodeAfter(server, fragments(new Uint8Array(201))), 1009)
      const peer = yield* rawHandshake(server.port)
      peer.write(fragments(new Uint8Array(200)))
      assert.strictEqual((yield* peer.untilFrames(1))[0].payload.length, 1000)
      yield* expectAlive(server)
    }))

  it.live("a client draws unpredictable mask keys, also with a predictable Math.random (GHSA-w67g-5rqw-f597)", () =>
    Effect.gen(function*() {
      const random = Math.random
      yield* Effect.addFinalizer(() => Effect.sync(() => void (Math.random = random)))
      Math.random = () => 0.5
      const server = yield* rawServer((peer) => {
        peer.socket.once("data", (chunk) => {
          peer.write(upgradeResponse(chunk))
        })
      })
      const connection = yield* WebSocketClient.connect(`ws://127.0.0.1:${server.port}/`, { closeTimeout: 0 })
      const count = 3000
      yield* connection.sendAll(Array.from({ length: count }, () => Uint8Array.of(0)))
      const [peer] = server.peers
      const sent = splitHead(yield* peer.until((received) => splitHead(received).rest.length >= count * 7)).rest
      const keys = Array.from({ length: count }, (_, i) => sent.readUInt32BE(i * 7 + 2))
      assert.isAbove(new Set(keys).size, count - 5)
      // Each of the 32 bits varies.
      assert.strictEqual(keys.reduce((a, b) => a | b) >>> 0, 0xffffffff)
      assert.strictEqual(keys.reduce((a, b) => a & b) >>> 0, 0)
    }))
})
