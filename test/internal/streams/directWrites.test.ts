import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { Transport } from "effect-ws"
import * as Net from "node:net"
import { Duplex } from "node:stream"
import { Worker } from "node:worker_threads"
import { handleOf, writeError, writeTo } from "../../../src/internal/streams/directWrites.ts"
import { socketPair } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"
import { bytes, record } from "../../support/transport.ts"

/** Counts the writes to the stream of a socket. They are made in its prototype, which `handleOf` compares. */
const countStreamWrites = <A, E, R>(use: (count: (socket: Net.Socket) => number) => Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const { write } = Net.Socket.prototype
      const counts = new Map<Net.Socket, number>()
      Net.Socket.prototype.write = function(this: Net.Socket, ...parameters: Array<never>) {
        counts.set(this, (counts.get(this) ?? 0) + 1)
        return Reflect.apply(write, this, parameters)
      }
      return { write, counts }
    }),
    ({ counts }) => use((socket) => counts.get(socket) ?? 0),
    ({ write }) =>
      Effect.sync(() => {
        Net.Socket.prototype.write = write
      })
  )

const received = (socket: Net.Socket) => {
  const chunks: Array<Buffer> = []
  socket.on("data", (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks)
}

const data = Uint8Array.from({ length: 20_000_000 }, (_, i) => i * 7919 >> 8)

// The second socket of a pair is connected. The first may still be connecting.

/** Replaces functions of the handle of a socket. */
const overrideHandle = (socket: Net.Socket, functions: object) =>
  void Object.assign(Reflect.get(socket, "_handle"), functions)

describe("writes past the stream of a socket", () => {
  it.live("a connected socket of this Node takes one chunk, or several, without its stream", () =>
    countStreamWrites((count) =>
      Effect.gen(function*() {
        const [right, left] = yield* socketPair
        const transport = Transport.fromDuplex(left)
        record(transport)
        const got = received(right)
        assert.isTrue(transport.write([bytes("a")]))
        assert.isTrue(transport.write([bytes("b"), bytes("c")]))
        yield* eventually(() => got().toString() === "abc")
        assert.deepStrictEqual([count(left), left.bytesWritten, transport.bufferedAmount()], [0, 3, 0])
      })
    ))

  it.live("other streams, TLS and sockets that are not as expected are written as streams", () =>
    Effect.gen(function*() {
      const [, left] = yield* socketPair
      assert.isDefined(handleOf(left))
      class Derived extends Net.Socket {}
      assert.isUndefined(handleOf(new Derived()))
      assert.isUndefined(handleOf(new Net.Socket()))
      assert.isUndefined(handleOf(new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })))
      const connecting = Net.connect(1, "127.0.0.1").on("error", () => {})
      assert.isUndefined(handleOf(connecting))
      connecting.destroy()
      left.write = left.write.bind(left)
      assert.isUndefined(handleOf(left))
      for (const missing of ["writeBuffer", "writev"]) {
        const [, socket] = yield* socketPair
        Object.defineProperty(Reflect.get(socket, "_handle"), missing, { value: undefined })
        assert.isUndefined(handleOf(socket))
      }
    }))

  it.live("bytes stay in order, and each refusal is followed by a drain, whatever the peer reads", () =>
    Effect.gen(function*() {
      const [right, left] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = record(transport)
      const got = received(right)
      const sent: Array<Uint8Array> = []
      let refusals = 0
      const drains = () => l.events.filter((event) => event === "drain").length
      for (let turn = 0; turn < 6; turn++) {
        right.pause()
        let room = true
        // Some of these go to the handle, and some to the stream: those behind one that the system has not taken.
        for (let i = 0; room || i < 60; i++) {
          const size = (1 + i) * 7919 % 90_000
          const chunk = data.subarray(turn + i, turn + i + size)
          const parts = i % 3 === 0 ? [chunk.subarray(0, size >> 1), chunk.subarray(size >> 1)] : [chunk]
          sent.push(chunk)
          room = transport.write(parts)
        }
        refusals++
        assert.isAbove(transport.bufferedAmount(), 0)
        right.resume()
        yield* eventually(() => drains() >= refusals)
      }
      const all = Buffer.concat(sent)
      yield* eventually(() => got().length === all.length)
      assert.isTrue(got().equals(all))
      assert.strictEqual(transport.bufferedAmount(), 0)
      assert.isTrue(transport.write([bytes("x")]))
    }))

  it.live("delivers bytes that had to wait before the end, and drops those written after it", () =>
    Effect.gen(function*() {
      const [right, left] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      record(transport)
      right.pause()
      assert.isFalse(transport.write([data]))
      transport.end()
      assert.isFalse(transport.write([bytes("late")]))
      const got = received(right)
      right.resume()
      yield* eventually(() => right.readableEnded)
      assert.isTrue(got().equals(data))
    }))

  it.live("drops bytes written in the same turn as the end, but none before it", () =>
    Effect.gen(function*() {
      const [right, left] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      record(transport)
      const got = received(right)
      transport.write([bytes("a")])
      transport.end()
      assert.isFalse(transport.write([bytes("late")]))
      yield* eventually(() => right.readableEnded)
      assert.strictEqual(got().toString(), "a")
    }))

  it.live("an error of the system while bytes wait is the error of the close", () =>
    Effect.gen(function*() {
      const [right, left] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = record(transport)
      // Nothing is read, so that the write is the first to learn of the reset.
      transport.pause()
      left.pause()
      right.pause()
      assert.isFalse(transport.write([new Uint8Array(20_000_000)]))
      right.resetAndDestroy()
      yield* eventually(() => l.events.includes("close"))
      assert.match(l.error()!.code!, /^(ECONNRESET|EPIPE)$/)
      assert.notInclude(l.events, "drain")
      assert.isFalse(transport.write([bytes("x")]))
    }))

  it.live("an error at once is found by the stream as well, which is destroyed with it", () =>
    Effect.gen(function*() {
      const [, left] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = record(transport)
      const epipe = -32
      overrideHandle(left, { writeBuffer: () => epipe })
      transport.write([bytes("x")])
      yield* eventually(() => l.events.includes("close"))
      assert.strictEqual(l.error()?.code, "EPIPE")
    }))

  it.live("a socket that is destroyed while bytes wait reports one close, without an error", () =>
    Effect.gen(function*() {
      const [right, left] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = record(transport)
      right.pause()
      assert.isFalse(transport.write([new Uint8Array(20_000_000)]))
      transport.destroy()
      assert.isFalse(transport.write([bytes("x")]))
      yield* eventually(() => l.events.includes("close"))
      yield* Effect.sleep(0)
      assert.deepStrictEqual([l.events, l.error()], [["close"], undefined])
    }))

  it("the error of a write is like that of a stream", () => {
    const error = writeError(-104)
    assert.deepStrictEqual(
      [error.message, error.code, error.errno, error.syscall],
      ["write ECONNRESET", "ECONNRESET", -104, "write"]
    )
  })

  it.live("a write that waits is told, even if its bytes have left the queue of the handle", () =>
    Effect.gen(function*() {
      const [, left] = yield* socketPair
      // The rest of a long write may leave in the call that writes it, if the peer reads meanwhile.
      Object.defineProperty(Reflect.get(left, "_handle"), "writeQueueSize", { value: 0 })
      const request = writeTo(handleOf(left)!, [data])
      assert.isObject(request)
    }))

  it.live("long writes arrive while a peer on another thread reads", () =>
    Effect.gen(function*() {
      const reader = yield* Effect.acquireRelease(
        Effect.sync(() =>
          new Worker(
            `const { parentPort } = require("node:worker_threads")
            const server = require("node:net").createServer((socket) => {
              let size = 0
              socket.on("data", (chunk) => {
                size += chunk.length
                if (size === 640_000_000) parentPort.postMessage("all")
              })
            })
            server.listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port))`,
            { eval: true }
          )
        ),
        (worker) => Effect.promise(() => worker.terminate())
      )
      const message = Effect.callback<unknown>((resume) => {
        reader.once("message", (value) => resume(Effect.succeed(value)))
      })
      const port = (yield* message) as number
      const socket = Net.connect(port, "127.0.0.1")
      yield* Effect.callback<void>((resume) => void socket.once("connect", () => resume(Effect.void)))
      const transport = Transport.fromDuplex(socket)
      const l = record(transport)
      const all = yield* Effect.forkChild(message)
      let drains = 0
      for (let i = 0; i < 40; i++) {
        const chunk = data.subarray(0, 16_000_000)
        if (transport.write([chunk.subarray(0, 10), chunk.subarray(10)])) continue
        drains++
        yield* eventually(() => l.events.filter((event) => event === "drain").length >= drains)
      }
      assert.strictEqual(yield* Fiber.join(all), "all")
      transport.destroy()
    }), 20_000)

  it.live("each request is used by one write that has to wait", () =>
    Effect.gen(function*() {
      const pairs = [yield* socketPair, yield* socketPair]
      const requests = pairs.map(([, left]) => writeTo(handleOf(left)!, [new Uint8Array(20_000_000)]))
      for (const request of requests) assert.isObject(request)
      assert.notStrictEqual(requests[0], requests[1])
    }))
})
