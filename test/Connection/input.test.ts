/** What programs send: values of any type and realm, in every function that sends, and buffers that are transferred. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Result, Schema, Stream } from "effect"
import { Connection, Extension, Frame, Message, PerMessageDeflate, Socket, Transport, TypedConnection } from "effect-ws"
import { PassThrough } from "node:stream"
import { createContext, runInContext } from "node:vm"
import { contentOf, makeRaw, settle, type Shape, turn } from "../support/memory.ts"
import { rawSocket, socketPair } from "../support/net.ts"

/** A client and a server over memory, with permessage-deflate or without. */
const makePair = (deflate: boolean) =>
  Effect.gen(function*() {
    const extension = PerMessageDeflate.make({ threshold: 0 })
    const accepted = deflate ? Extension.accept([extension], Extension.offer([extension])) : []
    const confirmed = yield* Effect.fromResult(Extension.confirm([extension], accepted.map(({ entry }) => entry)))
    const [left, right] = yield* Transport.makePair()
    const client = yield* Connection.make(left, { role: "client", keepalive: false, negotiated: confirmed })
    const server = yield* Connection.make(right, { role: "server", keepalive: false, negotiated: accepted })
    return { client, server }
  })

const realm = createContext({})
const elsewhere = (code: string): unknown => runInContext(code, realm)

const detached = (size: number): Uint8Array => {
  const view = new Uint8Array(size)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}

/** A view beyond the end of its resized buffer. It is made from text, because the types lack resizable buffers. */
const outOfBounds = (): unknown =>
  elsewhere(
    "const b = new ArrayBuffer(200, { maxByteLength: 400 }); const v = new Uint8Array(b, 100, 50); b.resize(10); v"
  )

const throwing = (name: string) =>
  Object.defineProperty({ _tag: "Text" }, name, {
    get() {
      throw new Error("a getter of the program")
    }
  })

const wrong: Readonly<Record<string, unknown>> = {
  "null": null,
  "undefined": undefined,
  "a boolean": true,
  "a number": 5000,
  "NaN": Number.NaN,
  "a bigint": 5n,
  "a symbol": Symbol("s"),
  "a function": () => "x",
  "an array": Array.from({ length: 128 }, () => 1),
  "a short array": [1, 2, 3],
  "an object with a length": { length: 200 },
  "an object with a byteLength": { byteLength: 200, length: 200, buffer: new ArrayBuffer(200) },
  "a String object": new String("abc"),
  "an ArrayBuffer": new ArrayBuffer(200),
  "a SharedArrayBuffer": new SharedArrayBuffer(200),
  "a DataView": new DataView(new ArrayBuffer(200)),
  "a Uint16Array": new Uint16Array(200),
  "a Uint8ClampedArray": new Uint8ClampedArray(200),
  "an Int8Array": new Int8Array(200),
  "a Float64Array": new Float64Array(200),
  "a Uint16Array of another realm": elsewhere("new Uint16Array(200)"),
  "a detached view": detached(200),
  "a large detached view": detached(100_000),
  "a view that its buffer is too short for": outOfBounds(),
  "a Proxy of bytes": new Proxy(new Uint8Array(200), {}),
  "a Proxy of a message": new Proxy(Message.text("abc"), {}),
  "a Proxy that throws": new Proxy({}, {
    get: () => assert.fail("a trap"),
    getPrototypeOf: () => assert.fail("a trap")
  }),
  "an object whose _tag throws": throwing("_tag"),
  "an object whose bytes throw": throwing("bytes"),
  "an object whose toStringTag throws": throwing(Symbol.toStringTag as never),
  "an object with the prototype of Uint8Array": Object.create(Uint8Array.prototype),
  "a Text of nothing": Message.text(undefined as never),
  "a Text of null": Message.text(null as never),
  "a Text of an array": Message.text([1, 2] as never),
  "a Binary of a string": Message.binary("abc" as never),
  "a Binary of detached bytes": Message.binary(detached(10)),
  "a message of another kind": { _tag: "Other", bytes: new Uint8Array(3) },
  "a frame": Frame.text("abc")
}

class Exaggerating extends Uint8Array {
  override get length(): number {
    return 100_000
  }
}

const content = (size: number) => Uint8Array.from({ length: size }, (_, i) => i * 7 + (i >> 8))

const right = (size: number): Readonly<Record<string, readonly [unknown, Uint8Array]>> => {
  const bytes = content(size)
  const shared = new Uint8Array(new SharedArrayBuffer(size))
  shared.set(bytes)
  const resizable = elsewhere(`new Uint8Array(new ArrayBuffer(${size}, { maxByteLength: ${size * 2} }))`) as Uint8Array
  resizable.set(bytes)
  const foreign = elsewhere(`new Uint8Array(${size})`) as Uint8Array
  foreign.set(bytes)
  const exaggerating = new Exaggerating(size)
  exaggerating.set(bytes)
  return {
    "bytes": [bytes, bytes],
    "a Buffer": [Buffer.from(bytes), bytes],
    "a part of a buffer": [new Uint8Array([0, ...bytes, 0]).subarray(1, size + 1), bytes],
    "bytes of another realm": [foreign, bytes],
    "bytes in shared memory": [shared, bytes],
    "bytes in a resizable buffer": [resizable, bytes],
    "bytes that exaggerate their length": [exaggerating, bytes],
    "bytes with a length of their own": [Object.defineProperty(bytes.slice(), "length", { value: size + 500 }), bytes],
    "a string of another realm": [elsewhere(`"x".repeat(${size})`), Buffer.alloc(size, "x")],
    "a Text": [Message.text("x".repeat(size)), Buffer.alloc(size, "x")],
    "a Binary": [Message.binary(bytes), bytes],
    "a Binary of another copy of the package": [{ _tag: "Binary", bytes }, bytes],
    "a Text of another copy of the package": [{ _tag: "Text", bytes: Buffer.alloc(size, "x") }, Buffer.alloc(size, "x")]
  }
}

/** Every function that sends. */
const functions: Readonly<Record<string, (connection: Shape, value: never) => Effect.Effect<unknown, unknown>>> = {
  send: (connection, value) => connection.send(value),
  sendAll: (connection, value) => connection.sendAll(["before", value, "after"]),
  sendFragments: (connection, value) => connection.sendFragments(Stream.make(value) as Stream.Stream<string>),
  broadcast: (connection, value) => Connection.broadcast([connection], [value]),
  "sendFrame of a payload": (connection, value) => connection.sendFrame(new Frame.Frame(Frame.Opcode.Binary, value)),
  "a socket's write": (connection, value) =>
    Effect.scoped(Effect.flatMap(Socket.fromConnection(connection).writer, (writer) => writer.write(value))),
  "a socket's writeAll": (connection, value) =>
    Effect.scoped(Effect.flatMap(Socket.fromConnection(connection).writer, (writer) => writer.writeAll([value]))),
  "a TypedConnection's send": (connection, value) =>
    TypedConnection.make(connection, {
      receives: Schema.Unknown,
      sends: Schema.Unknown,
      encoding: { ...TypedConnection.json, codec: (schema) => schema as never, encode: (encoded) => encoded as string }
    }).send(value)
}

/** Functions that send other values than messages. */
const others: typeof functions = {
  "sendAll of no array": (connection, value) => connection.sendAll(value),
  sendFrame: (connection, value) => connection.sendFrame(value),
  ping: (connection, value) => connection.ping(value),
  "close with a reason": (connection, value) => connection.close(1000, value),
  "close with a code": (connection, value) => connection.close(value)
}

/** The values that these allow. */
const taken: Readonly<Record<string, ReadonlyArray<string>>> = {
  "sendAll of no array": [],
  sendFrame: ["a frame"],
  ping: ["undefined"],
  "close with a reason": ["undefined"],
  "close with a code": ["undefined"],
  "a TypedConnection's send": []
}

const tags = ["InvalidInput", "InvalidValue", "SocketError", "InvalidCloseCode"]

const failureOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "success"
  const failure = Cause.findError(exit.cause)
  return Result.isSuccess(failure) ? (failure.success as { readonly _tag: string })._tag : `a defect: ${exit.cause}`
}

describe("a value that cannot be sent", () => {
  for (const deflate of [false, true]) {
    for (const role of ["client", "server"] as const) {
      it.effect(`fails with a typed error and sends nothing: ${role}, ${deflate ? "with" : "without"} deflate`, () =>
        Effect.gen(function*() {
          const pair = yield* makePair(deflate)
          const [connection, peer] = role === "client" ? [pair.client, pair.server] : [pair.server, pair.client]
          for (const [name, operation] of Object.entries({ ...functions, ...others })) {
            for (const [kind, value] of Object.entries(wrong)) {
              if (taken[name]?.includes(kind)) continue
              const before = (yield* connection.stats).bytesOut
              const failure = failureOf(yield* Effect.exit(operation(connection, value as never)))
              assert.include(tags, failure, `${name} of ${kind}`)
              assert.strictEqual((yield* connection.stats).bytesOut, before, `${name} of ${kind}`)
            }
            yield* connection.send(name)
            assert.strictEqual(contentOf(yield* peer.receive), name)
          }
        }))
    }
  }

  it.effect("fails with a description of the value, and what is expected", () =>
    Effect.gen(function*() {
      const { connection } = yield* makeRaw({ role: "server" })
      const said = (value: unknown) =>
        Effect.map(
          Effect.flip(connection.send(value as string) as Effect.Effect<void, Error>),
          (error) => error.message
        )
      const expected = "message: expected a string, a Uint8Array or a Message, got "
      assert.strictEqual(yield* said(null), `${expected}null; convert it before you send it`)
      assert.strictEqual(yield* said([1]), `${expected}an Array; convert it before you send it`)
      assert.strictEqual(yield* said({}), `${expected}an object; convert it before you send it`)
      assert.strictEqual(
        yield* said(new DataView(new ArrayBuffer(1))),
        `${expected}a DataView; convert it before you send it`
      )
      assert.strictEqual(
        yield* said(detached(3)),
        `${expected}a Uint8Array whose buffer is detached; convert it before you send it`
      )
    }))

  it.effect("fails with InvalidInput also after the connection has ended", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server" })
      peer.transport.destroy()
      yield* connection.closed
      assert.strictEqual(failureOf(yield* Effect.exit(connection.send([1] as never))), "InvalidInput")
    }))

  it("makes the codec throw InvalidInput", () => {
    for (const payload of [null, undefined, 5, [1, 2, 3], "abc", new Uint16Array(3), { length: 5 }]) {
      const frame = new Frame.Frame(Frame.Opcode.Binary, payload as never)
      assert.throws(() => Frame.encode(frame), /expected a payload that is a Uint8Array/)
      assert.throws(() => Frame.encodeInto(new Uint8Array(100), 0, frame, 7), /expected a payload that is a Uint8Array/)
    }
  })

  it.effect("fails the send if an extension returns it, and the next message is sent", () =>
    Effect.gen(function*() {
      for (
        const garbage of [undefined, null, 5, {}, Frame.binary([1] as never), { ...Frame.text("x"), payload: "x" }]
      ) {
        let broken = true
        const session: Extension.Session = {
          encode: (frame) => broken ? garbage as never : frame,
          decode: (frame) => frame
        }
        const negotiated = [{
          entry: { name: "x-broken", parameters: [] },
          reservedBits: 0,
          open: Effect.succeed(session)
        }]
        const { connection, peer } = yield* makeRaw({ role: "server", negotiated })
        assert.strictEqual(failureOf(yield* Effect.exit(connection.send("x"))), "InvalidInput")
        broken = false
        yield* connection.send("fine")
        yield* settle
        assert.deepStrictEqual(peer.received.map(({ payload }) => Buffer.from(payload).toString()), ["fine"])
      }
    }))
})

describe("a value that can be sent", () => {
  for (const deflate of [false, true]) {
    for (const role of ["client", "server"] as const) {
      it.live(`arrives byte for byte, from any realm: ${role}, ${deflate ? "with" : "without"} deflate`, () =>
        Effect.gen(function*() {
          const pair = yield* makePair(deflate)
          const [connection, peer] = role === "client" ? [pair.client, pair.server] : [pair.server, pair.client]
          for (const size of [1, 100, 5000, 70_000]) {
            for (const [kind, [value, bytes]] of Object.entries(right(size))) {
              for (const operation of [functions.send, functions.broadcast]) {
                yield* operation(connection, value as never)
                const message = yield* peer.receive
                assert.isTrue(Buffer.from(bytes).equals(message.bytes), `${kind} of ${size} bytes`)
              }
            }
          }
        }))
    }
  }

  it.effect("sends an empty message for empty bytes that are not detached", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair(false)
      yield* client.sendAll([new Uint8Array(0), Buffer.alloc(0), new Uint8Array(new ArrayBuffer(8), 8, 0), ""])
      for (let i = 0; i < 4; i++) assert.strictEqual((yield* server.receive).bytes.length, 0)
    }))
})

describe("a buffer that is transferred right after send", () => {
  const sizes = [1, 4096, 4097, 16_384, 65_535, 65_536, 200_000]

  /** Up to 64 KiB, the new owner may change the bytes at once; above that, not until they have left. */
  const owners: Array<Uint8Array> = []
  const transfer = (view: Uint8Array) => {
    const owner = new Uint8Array(structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] }))
    if (owner.length > 65_536) owners.push(owner)
    else owner.fill(0xee)
  }

  const overSockets = (reads: boolean) =>
    Effect.gen(function*() {
      const [near, far] = yield* socketPair
      if (!reads) far.pause()
      const connection = yield* Connection.make(Transport.fromDuplex(near), { role: "server", keepalive: false })
      // This peer does not reply to a close frame.
      yield* Effect.addFinalizer(() => Effect.sync(() => far.destroy()))
      return { connection, far }
    })

  it.live("never leaves a frame incomplete on the wire", () =>
    Effect.gen(function*() {
      const { connection, far } = yield* overSockets(true)
      const peer = rawSocket(far)
      const expected: Array<Uint8Array> = []
      for (const size of sizes) {
        for (const before of [[], ["in the same turn"]]) {
          const view = content(size)
          for (const text of before) yield* connection.send(text)
          expected.push(...before.map((text) => Buffer.from(text)), view.slice())
          yield* connection.send(view)
          transfer(view)
          yield* turn
        }
      }
      const decoder = Frame.makeDecoder({ role: "client" })
      const total = expected.reduce((sum, { length }) => sum + Frame.headerSize(length, false) + length, 0)
      const { error, frames } = decoder.decode(yield* peer.until((received) => received.length >= total))
      assert.isUndefined(error)
      assert.deepStrictEqual(frames.map(({ payload }) => payload.length), expected.map(({ length }) => length))
      assert.isTrue(frames.every(({ payload }, i) => Buffer.from(expected[i]).equals(payload)))
    }))

  it.live("never leaves a frame incomplete on the wire to a peer that reads slowly", () =>
    Effect.gen(function*() {
      const { connection, far } = yield* overSockets(false)
      let sent = 0
      // Until the transport is full: the last ones wait in this process.
      for (;;) {
        const view = content(5000)
        const sending = yield* Effect.forkChild(connection.send(view), { startImmediately: true })
        const written = sending.pollUnsafe() !== undefined
        if (written) sent++
        transfer(view)
        yield* turn
        if (written) continue
        const peer = rawSocket(far)
        far.resume()
        // Its buffer was transferred while it waited, so the send fails.
        assert.strictEqual(failureOf(yield* Fiber.await(sending)), "InvalidInput")
        yield* connection.send("the end")
        const received = yield* peer.until((all) => all.toString("latin1").endsWith("the end"))
        const { error, frames } = Frame.makeDecoder({ role: "client" }).decode(received)
        assert.isUndefined(error)
        assert.strictEqual(frames.length, sent + 1)
        assert.isTrue(frames.slice(0, -1).every(({ payload }) => Buffer.from(content(5000)).equals(payload)))
        return
      }
    }), 30_000)

  it.live("fails a message in fragments before its first frame, and leaves the connection open", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair(false)
      yield* client.sendFrame(Frame.text("other ", { fin: false }))
      const view = content(5000)
      const sending = yield* Effect.forkChild(
        client.sendFragments(Stream.make(view, Uint8Array.of(1))),
        {
          startImmediately: true
        }
      )
      yield* settle
      // It waits for the end of the other message.
      assert.isUndefined(sending.pollUnsafe())
      transfer(view)
      yield* client.sendFrame(Frame.continuation("message"))
      assert.strictEqual(failureOf(yield* Fiber.await(sending)), "InvalidInput")
      yield* client.send("still open")
      assert.strictEqual(contentOf(yield* server.receive), "other message")
      assert.strictEqual(contentOf(yield* server.receive), "still open")
    }))

  it.live("never leaves a frame incomplete in a stream that keeps its chunks", () =>
    Effect.gen(function*() {
      const stream = new PassThrough({ highWaterMark: 2 ** 20 })
      const connection = yield* Connection.make(Transport.fromDuplex(stream), { role: "server", keepalive: false })
      stream.removeAllListeners("data").pause()
      const view = content(50_000)
      yield* connection.sendAll(["first", view])
      transfer(view)
      yield* settle
      const { frames } = Frame.makeDecoder({ role: "client" }).decode(stream.read() as Buffer)
      assert.deepStrictEqual(frames.map(({ payload }) => payload.length), [5, 50_000])
      stream.destroy()
    }))

  it.live("compresses the message whole, even over several turns, and the messages behind it", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair(true)
      for (const size of [1000, 100_000, 500_000]) {
        const views = [content(size), content(size)]
        const sending = yield* Effect.forkChild(client.sendAll(views), { startImmediately: true })
        views.forEach(transfer)
        yield* Fiber.join(sending)
        for (let i = 0; i < 2; i++) assert.isTrue(Buffer.from(content(size)).equals((yield* server.receive).bytes))
      }
    }))
})

describe("a relay of frames", () => {
  it.live("compresses like a relay of messages, and keeps the fragments", () =>
    Effect.gen(function*() {
      const first = yield* makePair(true)
      const second = yield* makePair(true)
      yield* Effect.forkChild(Stream.runForEach(first.server.frames, (frame) => second.client.sendFrame(frame)))
      const text = "compress me ".repeat(1000)
      yield* first.client.send(text)
      assert.strictEqual(contentOf(yield* second.server.receive), text)
      yield* first.client.sendFragments(Stream.make(text, "and me").pipe(Stream.rechunk(1)))
      assert.strictEqual(contentOf(yield* second.server.receive), `${text}and me`)
      const { bytesIn, framesIn } = yield* second.server.stats
      assert.strictEqual(framesIn, 3)
      assert.isBelow(bytesIn, text.length / 10)
      yield* second.client.sendFrame(Frame.text(text), { compress: false })
      yield* second.server.receive
      assert.isAbove((yield* second.server.stats).bytesIn, text.length)
    }))
})
