/** Flow control of a client over HTTP/2 (RFC 9113 §5.2): many connections on one session, some of them not read. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Connection, WebSocketClient } from "effect-ws"
import { acceptByHand, enableConnect, rawHttp2, settings } from "../../support/http2ServerPeers.ts"
import { frameTypes } from "../../support/http2Frames.ts"
import { serve } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"
import { echo, textOf } from "../../support/serving.ts"

const only = { http2: "only", keepalive: false } as const
const shared = Effect.provide(WebSocketClient.layer(only))

/** Sends without an end to connections that ask for it, and counts what the transport took; echoes to others. */
const flooding = (sent: Array<number>) =>
  Effect.gen(function*() {
    const connection = yield* Connection.Connection
    if (connection.request.path !== "/flood") return yield* echo
    const i = sent.push(0) - 1
    return yield* Effect.forever(Effect.andThen(
      connection.send("x".repeat(10_000)),
      Effect.sync(() => sent[i] += 10_000)
    ))
  })

describe("flow control over HTTP/2", () => {
  it.live("connections that are not read hold back themselves, and no other on their session", () =>
    Effect.gen(function*() {
      const sent: Array<number> = []
      const server = yield* serve(flooding(sent), { cleartextHttp2: true, serve: { writeTimeout: Infinity } })
      const stalled = yield* Effect.forEach(
        Array.from({ length: 30 }),
        () => WebSocketClient.connect(`${server.url}/flood`)
      )
      const other = yield* WebSocketClient.connect(server.url)
      let before = -1
      const total = () => sent.reduce((sum, size) => sum + size, 0)
      for (let round = 0; round < 200; round++) {
        yield* other.send(`${round} ${"y".repeat(50_000)}`)
        assert.isTrue(textOf(yield* other.receive).startsWith(`${round} `))
        if (total() === before && round > 50) break
        before = total()
      }
      // A window, and the queues of both ends, for each.
      for (const size of sent) assert.isBelow(size, 2_000_000)
      for (const connection of stalled) {
        assert.isAtMost((yield* connection.stats).unreadAmount, 64 * 1024 + 256 * 1024)
      }
      // What was held back goes on once it is read.
      const mark = sent[0]
      while (sent[0] === mark) yield* stalled[0].receive
      yield* Effect.forEach(stalled, (connection) => connection.terminate, { discard: true })
    }).pipe(shared))

  it.live("a peer that gives no window holds back senders, and they go on with its WINDOW_UPDATE", () =>
    Effect.gen(function*() {
      const server = yield* rawHttp2({ open: settings(enableConnect, [4, 0]), request: acceptByHand })
      const connection = yield* WebSocketClient.connect(server.url)
      const sending = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 20 }), () => connection.send("x".repeat(10_000)), { discard: true })
      )
      const dataSize = () =>
        server.peers[0].frames().reduce(
          (sum, { payload, type }) => type === frameTypes.DATA ? sum + payload.length : sum,
          0
        )
      yield* eventually(() => sending.pollUnsafe() === undefined)
      assert.strictEqual(dataSize(), 0)
      server.peers[0].frame(frameTypes.WINDOW_UPDATE, 0, 1, Buffer.from([0, 15, 0, 0]))
      server.peers[0].frame(frameTypes.WINDOW_UPDATE, 0, 0, Buffer.from([0, 15, 0, 0]))
      yield* Fiber.join(sending)
      yield* eventually(() => dataSize() > 200_000)
      yield* connection.terminate
    }).pipe(shared))

  it.live("many connections on one session exchange large messages at once", () =>
    Effect.gen(function*() {
      const server = yield* serve(echo, { cleartextHttp2: true })
      const message = "x".repeat(200_000)
      const sizes = yield* Effect.forEach(
        Array.from({ length: 60 }),
        () =>
          Effect.scoped(Effect.gen(function*() {
            const connection = yield* WebSocketClient.connect(server.url)
            yield* connection.send(message)
            return textOf(yield* connection.receive).length
          })),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(new Set(sizes), new Set([message.length]))
    }).pipe(shared))
})
