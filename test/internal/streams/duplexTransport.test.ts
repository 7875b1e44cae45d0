import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Connection, Transport } from "effect-ws"
import { Duplex } from "node:stream"
import { hostileValues } from "../../support/hostile.ts"
import { settle } from "../../support/memory.ts"
import { socketPair } from "../../support/net.ts"
import { eventually } from "../../support/resources.ts"
import { bytes, record } from "../../support/transport.ts"

describe("fromDuplex", () => {
  it.live("reports the first of several errors with the close", () =>
    Effect.gen(function*() {
      const broken = (code: string) => Object.assign(new Error(`read ${code}`), { code })
      const duplex = new Duplex({ read() {}, write() {}, autoDestroy: false })
      const { error, events } = record(Transport.fromDuplex(duplex))
      duplex.emit("error", broken("ECONNRESET"))
      duplex.emit("error", broken("EPIPE"))
      duplex.destroy(broken("ETIMEDOUT"))
      yield* settle
      assert.deepStrictEqual([events, error()?.code], [["close"], "ECONNRESET"])
    }))

  it.live("reports anything that a stream emits as its error", () =>
    Effect.gen(function*() {
      for (const [name, value] of hostileValues) {
        const duplex = new Duplex({ read() {}, write() {}, autoDestroy: false })
        const { error } = record(Transport.fromDuplex(duplex))
        duplex.emit("error", value)
        duplex.destroy()
        yield* eventually(() => error() !== undefined)
        assert.match(error()!.message, /^the transport failed: /, name)
      }
    }))

  it.live("a stream whose write throws no error fails its connection with what it throws", () =>
    Effect.gen(function*() {
      const throwing = new Duplex({
        read() {},
        write() {
          throw "disk full"
        }
      })
      const connection = yield* Connection.make(Transport.fromDuplex(throwing), { role: "server", keepalive: false })
      yield* Effect.ignore(connection.send("a"))
      const { cause } = yield* connection.closed
      assert.deepStrictEqual([cause?._tag, cause?.message], ["TransportError", "the transport failed: disk full"])
    }).pipe(Effect.scoped))

  it.live("turns the timeout and the delay of small writes off, if the stream is a socket", () =>
    Effect.gen(function*() {
      const [left] = yield* socketPair
      left.setTimeout(60_000)
      const noDelay: Array<boolean | undefined> = []
      left.setNoDelay = (value) => {
        noDelay.push(value)
        return left
      }
      record(Transport.fromDuplex(left))
      assert.deepStrictEqual([left.timeout, noDelay], [0, [true]])
    }))

  it.live("delivers the head, then the bytes of the socket", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const l = record(Transport.fromDuplex(left, bytes("head ")))
      const transport = Transport.fromDuplex(right)
      record(transport)
      assert.deepStrictEqual(l.events, [])
      yield* eventually(() => l.events.length > 0)
      transport.write([bytes("a")])
      yield* eventually(() => l.events.length > 1)
      transport.write([bytes("b"), bytes("c")])
      yield* eventually(() => l.events.join("").endsWith("c"))
      assert.strictEqual(l.events.join("").replaceAll("data ", ""), "head abc")
    }))

  it.live("delivers bytes that the stream read before start ahead of later reads", () =>
    Effect.gen(function*() {
      const data = Array.from({ length: 400 }, (_, i) => new Uint8Array(1 + i * 7919 % 5000).fill(i))
      const ends = [yield* socketPair, yield* socketPair]
      // Both sockets read into the same memory at once. Neither may deliver the bytes of the other.
      const all = ends.map(([left, right], which) => {
        const write = (from: number, to: number) => {
          for (const chunk of data.slice(from, to)) right.write(chunk.map((byte) => byte ^ which))
        }
        write(0, 40)
        return { left, write }
      })
      yield* Effect.forEach(all, ({ left }) => eventually(() => left.readableLength > 0))
      const events = all.map(({ left, write }) => {
        const recorded = record(Transport.fromDuplex(left))
        write(40, data.length)
        return recorded
      })
      const size = data.reduce((sum, chunk) => sum + chunk.length, 0)
      const sizeOf = (chunks: ReadonlyArray<Uint8Array>) => chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      yield* eventually(() => events.every(({ chunks }) => sizeOf(chunks) === size))
      events.forEach(({ chunks }, which) => {
        assert.isTrue(Buffer.concat(chunks).equals(Buffer.concat(data).map((byte) => byte ^ which)))
      })
    }))

  it.live("reads nothing while paused, even if Node asks the stream to read", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = record(transport)
      yield* eventually(() => left.readableFlowing === true)
      transport.pause()
      // Node does this if it considers the stream to be flowing.
      left.read(0)
      right.write("a")
      yield* eventually(() => l.events.length > 0)
      const { bytesRead } = left
      right.write("b")
      right.end()
      yield* eventually(() => right.writableFinished)
      // Another connection is established and read after this write: a read of the first would have happened by now.
      const [other, others] = yield* socketPair
      const o = record(Transport.fromDuplex(other))
      others.write("x")
      yield* eventually(() => o.events.length > 0)
      assert.deepStrictEqual([l.events, left.bytesRead], [["data a"], bytesRead])
      transport.resume()
      yield* eventually(() => l.events.includes("end"))
      assert.deepStrictEqual(l.events, ["data a", "data b", "end"])
    }))

  it.live("write returns false above the high-water mark of the stream, and a drain follows", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = record(transport)
      const other = Transport.fromDuplex(right)
      record(other)
      other.pause()
      let room = true
      while (room || transport.bufferedAmount() === 0) room = transport.write([new Uint8Array(100_000)])
      other.resume()
      yield* eventually(() => l.events.includes("drain"))
      assert.strictEqual(transport.bufferedAmount(), 0)
    }))

  it.live("bufferedAmount counts the part of a long write that has not left", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = record(transport)
      const size = 50_000_000
      assert.isFalse(transport.write([new Uint8Array(size)]))
      const seen = new Set<number>()
      right.on("data", () => {
        if (!l.events.includes("drain")) seen.add(transport.bufferedAmount())
      })
      yield* eventually(() => l.events.includes("drain"))
      assert.isAbove([...seen].filter((amount) => amount > 0 && amount < size).length, 2)
      assert.strictEqual(transport.bufferedAmount(), 0)
    }))

  it.live("reports the end of the peer, and the close once both sides have ended", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const l = record(Transport.fromDuplex(left))
      const other = Transport.fromDuplex(right)
      const r = record(other)
      other.write([bytes("last")])
      other.end()
      yield* eventually(() => l.events.includes("end"))
      assert.deepStrictEqual(l.events, ["data last", "end"])
      left.end()
      yield* eventually(() => l.events.includes("close") && r.events.includes("close"))
      assert.isUndefined(l.error())
    }))

  it.live("reports the reset of the peer as the error of the close", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const l = record(Transport.fromDuplex(left))
      right.resetAndDestroy()
      yield* eventually(() => l.events.includes("close"))
      assert.strictEqual(l.error()?.code, "ECONNRESET")
      assert.match(l.error()!.message, /the transport failed: .*ECONNRESET/)
      assert.isFalse(Transport.fromDuplex(left).write([bytes("x")]))
    }))

  it.live("reports the close of a stream that was destroyed before start", () =>
    Effect.gen(function*() {
      const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
      duplex.destroy()
      yield* settle
      const { events } = record(Transport.fromDuplex(duplex))
      assert.deepStrictEqual(events, [])
      yield* eventually(() => events.length > 0)
      assert.deepStrictEqual(events, ["close"])
    }))

  for (const head of [undefined, bytes("head")]) {
    it.live(`reports the end of a stream that ended before start${head ? ", after its head" : ""}`, () =>
      Effect.gen(function*() {
        const [left, right] = yield* socketPair
        right.end()
        yield* eventually(() => left.readableEnded)
        const transport = Transport.fromDuplex(left, head)
        const { error, events } = record(transport)
        assert.deepStrictEqual(events, [])
        yield* eventually(() => events.includes("end"))
        assert.deepStrictEqual(events, head ? ["data head", "end"] : ["end"])
        transport.end()
        yield* eventually(() => events.includes("close"))
        assert.isUndefined(error())
      }))
  }

  it.live("delivers the head, the end and the close of a stream that closed before start", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      right.end()
      left.once("end", () => left.end())
      left.resume()
      yield* eventually(() => left.closed)
      const { error, events } = record(Transport.fromDuplex(left, bytes("head")))
      assert.deepStrictEqual(events, [])
      yield* eventually(() => events.includes("close"))
      assert.deepStrictEqual(events, ["data head", "end", "close"])
      assert.isUndefined(error())
    }))

  it.live("delivers the head before, and nothing after, the close of a stream that is being destroyed", () =>
    Effect.gen(function*() {
      // In a microtask, and in a callback of Node, after which `process.nextTick` runs before microtasks.
      for (const turn of [queueMicrotask, setImmediate]) {
        const events = yield* Effect.callback<Array<string>>((resume) => {
          turn(() => {
            const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
            duplex.push("b")
            duplex.destroy()
            const recorded = record(Transport.fromDuplex(duplex, bytes("a")))
            duplex.once("close", () => setImmediate(() => resume(Effect.succeed(recorded.events))))
          })
        })
        assert.deepStrictEqual(events, ["data a", "close"])
      }
    }))

  it.live("reports nothing after the close of a stream that ended before start", () =>
    Effect.gen(function*() {
      const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
      duplex.push(null)
      duplex.resume()
      yield* eventually(() => duplex.readableEnded)
      // In a callback of Node, after which `process.nextTick` runs before microtasks.
      const events = yield* Effect.callback<Array<string>>((resume) => {
        setImmediate(() => {
          const transport = Transport.fromDuplex(duplex, bytes("head"))
          const recorded = record(transport)
          transport.destroy()
          duplex.once("close", () => setImmediate(() => resume(Effect.succeed(recorded.events))))
        })
      })
      assert.deepStrictEqual(events, ["data head", "end", "close"])
    }))

  it.live("reports the close of a stream that is being destroyed once, with its error", () =>
    Effect.gen(function*() {
      const stream = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
      const [socket] = yield* socketPair
      for (const duplex of [stream, socket]) {
        let closed = false
        duplex.on("error", () => {})
        duplex.destroy(new Error("broken"))
        const { error, events } = record(Transport.fromDuplex(duplex))
        duplex.on("close", () => {
          closed = true
        })
        yield* eventually(() => closed)
        yield* settle
        assert.deepStrictEqual(events, ["close"])
        assert.match(error()!.message, /broken/)
      }
    }))

  it.live("delivers all bytes of a stream that was paused before start, in order", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      right.pause()
      left.write("a")
      yield* eventually(() => right.readableLength > 0)
      const r = record(Transport.fromDuplex(right))
      left.write("b")
      yield* eventually(() => r.events.join("").endsWith("b"))
      assert.strictEqual(r.events.join("").replaceAll("data ", ""), "ab")
    }))

  it.live("delivers bytes that Node reads on its own after those that the stream had", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const data = Uint8Array.from({ length: 500_000 }, (_, i) => i * 7919 >> 8)
      left.write(data)
      yield* eventually(() => right.readableLength >= right.readableHighWaterMark)
      const { bytesRead } = right
      const transport = Transport.fromDuplex(right)
      const { chunks } = record(transport)
      // Node begins to read for a stream that was flowing, although it is paused by then.
      transport.pause()
      yield* eventually(() => right.bytesRead > bytesRead)
      assert.deepStrictEqual(chunks, [])
      transport.resume()
      yield* eventually(() => chunks.reduce((size, chunk) => size + chunk.length, 0) === data.length)
      assert.isTrue(Buffer.concat(chunks).equals(data))
    }))

  it.live("a stream whose write throws fails its connection and no other", () =>
    Effect.gen(function*() {
      const throwing = new Duplex({
        read: () => {},
        write: () => {
          throw new Error("cannot write")
        }
      })
      const [left, right] = yield* socketPair
      const server = { role: "server", keepalive: false } as const
      const bad = yield* Connection.make(Transport.fromDuplex(throwing), server)
      const good = yield* Connection.make(Transport.fromDuplex(left), server)
      const other = yield* Connection.make(Transport.fromDuplex(right), { role: "client", keepalive: false })
      yield* Connection.broadcast([bad, good], ["a"])
      const got = yield* other.receive
      assert.strictEqual(Buffer.from(got.bytes).toString(), "a")
      const { cause } = yield* bad.closed
      assert.match(cause!.message, /cannot write/)
    }).pipe(Effect.scoped))

  it.live("layerDuplex provides the transport of a stream", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const context = yield* Layer.build(Transport.layerDuplex(left))
      const l = record(Context.get(context, Transport.Transport))
      right.write("x")
      yield* eventually(() => l.events.length > 0)
      assert.deepStrictEqual(l.events, ["data x"])
    }))
})
