/** A relay over sockets: a frame that is much larger than the memory a relay may take. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Stream } from "effect"
import { Connection, WebSocketClient } from "effect-ws"
import type * as Net from "node:net"
import { rawHandshake, serve } from "../support/net.ts"

const mebi = 1024 * 1024
const size = 200 * mebi
const highWaterMark = 64 * 1024
const limits: Connection.Options = { maxMessageSize: Number.POSITIVE_INFINITY }

/** Writes bytes, as fast as the other side reads. */
const write = (socket: Net.Socket, bytes: Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    socket.write(bytes, () => resume(Effect.void))
  })

/** The header of a binary frame of `size` bytes, with a mask of zeros (RFC 6455 §5.2). */
const header = Buffer.alloc(14)
header[0] = 0x82
header[1] = 0xff
header.writeBigUInt64BE(BigInt(size), 2)

describe("a relay over sockets", () => {
  it.live("passes on 200 MiB in one frame, and keeps no more than the high-water marks", () =>
    Effect.gen(function*() {
      const received = yield* Deferred.make<number>()
      const isFull = yield* Deferred.make<void>()
      const upstream = yield* serve(
        Effect.gen(function*() {
          const connection = yield* Connection.Connection
          yield* Deferred.await(isFull)
          const { fragments } = yield* connection.receiveFragments
          const bytes = yield* Stream.runFold(
            fragments as Stream.Stream<Uint8Array, unknown>,
            () => 0,
            (sum, fragment) => sum + fragment.length
          )
          yield* Deferred.succeed(received, bytes)
          yield* connection.discard
        }),
        { serve: limits }
      )
      const most = { kept: 0, rss: 0 }
      const gateway = yield* serve(
        Effect.gen(function*() {
          const client = yield* Connection.Connection
          const behind = yield* WebSocketClient.connect(`ws://127.0.0.1:${upstream.port}`, limits)
          const sample = Effect.gen(function*() {
            const { unreadAmount } = yield* client.stats
            const { bufferedAmount } = yield* behind.stats
            most.kept = Math.max(most.kept, unreadAmount + bufferedAmount)
            most.rss = Math.max(most.rss, process.memoryUsage.rss())
            // All buffers on the way are full: the client is held back.
            if (unreadAmount >= highWaterMark) yield* Deferred.succeed(isFull, undefined)
          })
          yield* Effect.forkScoped(Effect.forever(Effect.delay(sample, 1)))
          yield* Connection.relay(client, behind)
        }),
        { serve: limits }
      )
      const client = yield* rawHandshake(gateway.port)
      const before = process.memoryUsage.rss()
      yield* write(client.socket, header)
      const chunk = Buffer.alloc(mebi)
      for (let sent = 0; sent < size; sent += chunk.length) yield* write(client.socket, chunk)
      assert.strictEqual(yield* Deferred.await(received), size)
      assert.isAbove(most.kept, highWaterMark)
      assert.isBelow(most.kept, mebi)
      // All ends are in this process, and its garbage is collected now and then: half of the message is generous.
      assert.isBelow(most.rss - before, size / 2)
    }), 60_000)
})
