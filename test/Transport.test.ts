import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Connection, type ConnectionError, Transport } from "effect-ws"
import { Duplex } from "node:stream"
import { settle } from "./support/memory.ts"
import { socketPair } from "./support/net.ts"

type Shape = Transport.Transport

/** Starts a transport, and keeps what it tells. */
const start = (transport: Shape) => {
  const told: Array<string> = []
  const chunks: Array<Uint8Array> = []
  let error: ConnectionError.TransportError | undefined
  transport.start({
    onData: (chunk) => {
      told.push(`data ${Buffer.from(chunk).toString("latin1")}`)
      chunks.push(Uint8Array.from(chunk))
    },
    onDrain: () => told.push("drain"),
    onEnd: () => told.push("end"),
    onClose: (reason) => {
      error = reason
      told.push("close")
    }
  })
  return { told, chunks, error: () => error }
}

const bytes = (text: string) => new TextEncoder().encode(text)

describe("makePair", () => {
  it.effect("tells nothing of room to who has cut it", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair({ highWaterMark: 4 })
      const l = start(left)
      assert.isFalse(left.write([bytes("12345")]))
      left.destroy()
      const r = start(right)
      yield* settle
      assert.deepStrictEqual([l.told, r.told], [["close"], ["data 12345", "end"]])
    }))

  it.effect("carries bytes both ways, in order, one chunk a write, never before start returns", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      left.write([bytes("a"), bytes("b")])
      left.write([bytes("c")])
      const r = start(right)
      assert.deepStrictEqual(r.told, [])
      const l = start(left)
      right.write([bytes("back")])
      yield* settle
      assert.deepStrictEqual(r.told, ["data ab", "data c"])
      assert.deepStrictEqual(l.told, ["data back"])
    }))

  it.effect("lends what it carries, and leaves what was written alone", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const lent: Array<Uint8Array> = []
      right.start({ onData: (chunk) => lent.push(chunk), onDrain: () => {}, onEnd: () => {}, onClose: () => {} })
      const sent = bytes("abc")
      left.write([sent])
      yield* settle
      assert.deepStrictEqual([lent, sent], [[Buffer.alloc(3)], bytes("abc")])
    }))

  it.effect("answers false over its mark, and tells when there is room again", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair({ highWaterMark: 4 })
      const l = start(left)
      start(right)
      right.pause()
      assert.isTrue(left.write([bytes("abc")]))
      assert.isFalse(left.write([bytes("d")]))
      assert.strictEqual(left.bufferedAmount(), 4)
      yield* settle
      assert.deepStrictEqual(l.told, [])
      right.resume()
      yield* settle
      assert.deepStrictEqual(l.told, ["drain"])
      assert.strictEqual(left.bufferedAmount(), 0)
      assert.isTrue(left.write([bytes("e")]))
    }))

  it.effect("holds delivery, and the end behind it, while paused", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const r = start(right)
      right.pause()
      left.write([bytes("a")])
      left.end()
      yield* settle
      assert.deepStrictEqual(r.told, [])
      right.resume()
      yield* settle
      assert.deepStrictEqual(r.told, ["data a", "end"])
    }))

  it.effect("closes when both sides have ended; each may go on writing until it ends", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const l = start(left)
      const r = start(right)
      left.end()
      assert.isFalse(left.write([bytes("dropped")]))
      yield* settle
      right.write([bytes("still")])
      right.end()
      yield* settle
      assert.deepStrictEqual(r.told, ["end", "close"])
      assert.deepStrictEqual(l.told, ["data still", "end", "close"])
    }))

  it.effect("destroy cuts at once: the other side sees the end, and its writes break", () =>
    Effect.gen(function*() {
      const [left, right] = yield* Transport.makePair()
      const l = start(left)
      const r = start(right)
      left.destroy()
      left.destroy()
      yield* settle
      assert.deepStrictEqual(l.told, ["close"])
      assert.isUndefined(l.error())
      assert.deepStrictEqual(r.told, ["end"])
      assert.isFalse(right.write([bytes("x")]))
      yield* settle
      assert.deepStrictEqual(r.told, ["end", "close"])
      assert.strictEqual(r.error()?.code, "EPIPE")
    }))
})

const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.andThen(settle, until(condition)))

describe("fromDuplex", () => {
  it.live("tells of several errors the first, with the close", () =>
    Effect.gen(function*() {
      const broken = (code: string) => Object.assign(new Error(`read ${code}`), { code })
      const duplex = new Duplex({ read() {}, write() {}, autoDestroy: false })
      const { error, told } = start(Transport.fromDuplex(duplex))
      duplex.emit("error", broken("ECONNRESET"))
      duplex.emit("error", broken("EPIPE"))
      duplex.destroy(broken("ETIMEDOUT"))
      yield* settle
      assert.deepStrictEqual([told, error()?.code], [["close"], "ECONNRESET"])
    }))

  it.live("carries bytes over a socket, its head first", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const l = start(Transport.fromDuplex(left, bytes("head ")))
      const transport = Transport.fromDuplex(right)
      start(transport)
      assert.deepStrictEqual(l.told, [])
      yield* until(() => l.told.length > 0)
      transport.write([bytes("a")])
      yield* until(() => l.told.length > 1)
      transport.write([bytes("b"), bytes("c")])
      yield* until(() => l.told.join("").endsWith("c"))
      assert.strictEqual(l.told.join("").replaceAll("data ", ""), "head abc")
    }))

  it.live("tells first what was read before, then what comes", () =>
    Effect.gen(function*() {
      const data = Array.from({ length: 400 }, (_, i) => new Uint8Array(1 + i * 7919 % 5000).fill(i))
      const ends = [yield* socketPair, yield* socketPair]
      // Both read at once, through the same memory: neither finds the other's bytes.
      const all = ends.map(([left, right], which) => {
        const write = (from: number, to: number) => {
          for (const chunk of data.slice(from, to)) right.write(chunk.map((byte) => byte ^ which))
        }
        write(0, 40)
        return { left, write }
      })
      yield* Effect.forEach(all, ({ left }) => until(() => left.readableLength > 0))
      const told = all.map(({ left, write }) => {
        const its = start(Transport.fromDuplex(left))
        write(40, data.length)
        return its
      })
      const size = data.reduce((sum, chunk) => sum + chunk.length, 0)
      const sizeOf = (chunks: ReadonlyArray<Uint8Array>) => chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      yield* until(() => told.every(({ chunks }) => sizeOf(chunks) === size))
      told.forEach(({ chunks }, which) => {
        assert.isTrue(Buffer.concat(chunks).equals(Buffer.concat(data).map((byte) => byte ^ which)))
      })
    }))

  it.live("reads nothing while it is paused, whoever asks the stream to read", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = start(transport)
      yield* until(() => left.readableFlowing === true)
      transport.pause()
      // As Node does where it takes the stream to be in use.
      left.read(0)
      right.write("a")
      yield* until(() => l.told.length > 0)
      const { bytesRead } = left
      right.write("b")
      right.end()
      yield* until(() => right.writableFinished)
      // Another connection is later in all of it: what was to be read here would have been by now.
      const [other, others] = yield* socketPair
      const o = start(Transport.fromDuplex(other))
      others.write("x")
      yield* until(() => o.told.length > 0)
      assert.deepStrictEqual([l.told, left.bytesRead], [["data a"], bytesRead])
      transport.resume()
      yield* until(() => l.told.includes("end"))
      assert.deepStrictEqual(l.told, ["data a", "data b", "end"])
    }))

  it.live("says when there is no room, and when there is again", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = start(transport)
      const other = Transport.fromDuplex(right)
      start(other)
      other.pause()
      let room = true
      while (room || transport.bufferedAmount() === 0) room = transport.write([new Uint8Array(100_000)])
      other.resume()
      yield* until(() => l.told.includes("drain"))
      assert.strictEqual(transport.bufferedAmount(), 0)
    }))

  it.live("says how much of a long write has not left yet", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const transport = Transport.fromDuplex(left)
      const l = start(transport)
      const size = 50_000_000
      assert.isFalse(transport.write([new Uint8Array(size)]))
      const seen = new Set<number>()
      right.on("data", () => {
        if (!l.told.includes("drain")) seen.add(transport.bufferedAmount())
      })
      yield* until(() => l.told.includes("drain"))
      assert.isAbove([...seen].filter((amount) => amount > 0 && amount < size).length, 2)
      assert.strictEqual(transport.bufferedAmount(), 0)
    }))

  it.live("tells the end, and the close that follows when both have ended", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const l = start(Transport.fromDuplex(left))
      const other = Transport.fromDuplex(right)
      const r = start(other)
      other.write([bytes("last")])
      other.end()
      yield* until(() => l.told.includes("end"))
      assert.deepStrictEqual(l.told, ["data last", "end"])
      left.end()
      yield* until(() => l.told.includes("close") && r.told.includes("close"))
      assert.isUndefined(l.error())
    }))

  it.live("tells what broke it", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const l = start(Transport.fromDuplex(left))
      right.resetAndDestroy()
      yield* until(() => l.told.includes("close"))
      assert.strictEqual(l.error()?.code, "ECONNRESET")
      assert.match(l.error()!.message, /the transport failed: .*ECONNRESET/)
      assert.isFalse(Transport.fromDuplex(left).write([bytes("x")]))
    }))

  it.live("tells the close of a stream that was gone before", () =>
    Effect.gen(function*() {
      const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
      duplex.destroy()
      yield* settle
      const { told } = start(Transport.fromDuplex(duplex))
      assert.deepStrictEqual(told, [])
      yield* until(() => told.length > 0)
      assert.deepStrictEqual(told, ["close"])
    }))

  for (const head of [undefined, bytes("head")]) {
    it.live(`tells the end of a stream that had ended before${head ? ", behind its head" : ""}`, () =>
      Effect.gen(function*() {
        const [left, right] = yield* socketPair
        right.end()
        yield* until(() => left.readableEnded)
        const transport = Transport.fromDuplex(left, head)
        const { error, told } = start(transport)
        assert.deepStrictEqual(told, [])
        yield* until(() => told.includes("end"))
        assert.deepStrictEqual(told, head ? ["data head", "end"] : ["end"])
        transport.end()
        yield* until(() => told.includes("close"))
        assert.isUndefined(error())
      }))
  }

  it.live("tells what was read of a stream that had ended on both sides before, then the end and the close", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      right.end()
      left.once("end", () => left.end())
      left.resume()
      yield* until(() => left.closed)
      const { error, told } = start(Transport.fromDuplex(left, bytes("head")))
      assert.deepStrictEqual(told, [])
      yield* until(() => told.includes("close"))
      assert.deepStrictEqual(told, ["data head", "end", "close"])
      assert.isUndefined(error())
    }))

  it.live("tells nothing of a stream that is just going before its head, or behind the close", () =>
    Effect.gen(function*() {
      // In a microtask, and in a turn of Node's own, whose ticks come before microtasks.
      for (const turn of [queueMicrotask, setImmediate]) {
        const told = yield* Effect.callback<Array<string>>((resume) => {
          turn(() => {
            const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
            duplex.push("b")
            duplex.destroy()
            const its = start(Transport.fromDuplex(duplex, bytes("a")))
            duplex.once("close", () => setImmediate(() => resume(Effect.succeed(its.told))))
          })
        })
        assert.deepStrictEqual(told, ["data a", "close"])
      }
    }))

  it.live("tells nothing behind the close, though the stream had ended before", () =>
    Effect.gen(function*() {
      const duplex = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
      duplex.push(null)
      duplex.resume()
      yield* until(() => duplex.readableEnded)
      // In a turn of Node's own, whose ticks come before microtasks.
      const told = yield* Effect.callback<Array<string>>((resume) => {
        setImmediate(() => {
          const transport = Transport.fromDuplex(duplex, bytes("head"))
          const its = start(transport)
          transport.destroy()
          duplex.once("close", () => setImmediate(() => resume(Effect.succeed(its.told))))
        })
      })
      assert.deepStrictEqual(told, ["data head", "end", "close"])
    }))

  it.live("tells the close of a stream that is just going once, with what broke it", () =>
    Effect.gen(function*() {
      const stream = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
      const [socket] = yield* socketPair
      for (const duplex of [stream, socket]) {
        let closed = false
        duplex.on("error", () => {})
        duplex.destroy(new Error("broken"))
        const { error, told } = start(Transport.fromDuplex(duplex))
        duplex.on("close", () => {
          closed = true
        })
        yield* until(() => closed)
        yield* settle
        assert.deepStrictEqual(told, ["close"])
        assert.match(error()!.message, /broken/)
      }
    }))

  it.live("tells all that a stream has which was paused before, in order", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      right.pause()
      left.write("a")
      yield* until(() => right.readableLength > 0)
      const r = start(Transport.fromDuplex(right))
      left.write("b")
      yield* until(() => r.told.join("").endsWith("b"))
      assert.strictEqual(r.told.join("").replaceAll("data ", ""), "ab")
    }))

  it.live("tells what Node reads on its own behind what the stream has from before", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const data = Uint8Array.from({ length: 500_000 }, (_, i) => i * 7919 >> 8)
      left.write(data)
      yield* until(() => right.readableLength >= right.readableHighWaterMark)
      const { bytesRead } = right
      const transport = Transport.fromDuplex(right)
      const { chunks } = start(transport)
      // Node begins to read for a stream that was to flow, though it is paused by then.
      transport.pause()
      yield* until(() => right.bytesRead > bytesRead)
      assert.deepStrictEqual(chunks, [])
      transport.resume()
      yield* until(() => chunks.reduce((size, chunk) => size + chunk.length, 0) === data.length)
      assert.isTrue(Buffer.concat(chunks).equals(data))
    }))

  it.live("a stream that throws when it is written to is broken, and others are written to all the same", () =>
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

  it.live("is what layerDuplex provides", () =>
    Effect.gen(function*() {
      const [left, right] = yield* socketPair
      const context = yield* Layer.build(Transport.layerDuplex(left))
      const l = start(Context.get(context, Transport.Transport))
      right.write("x")
      yield* until(() => l.told.length > 0)
      assert.deepStrictEqual(l.told, ["data x"])
    }))
})
