/** Extensions at work in a connection (RFC 6455 §9). */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Connection, Extension, Frame, Message, ProtocolError, Transport, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, makeRaw, settle } from "../../support/memory.ts"
import { serve } from "../../support/net.ts"
import { interruptAtEachStep } from "../../support/interruptAtEachStep.ts"

const { Rsv2, Rsv3 } = Frame.Reserved

const withPayload = (frame: Frame.Frame, payload: Uint8Array, reserved: number) =>
  new Frame.Frame(frame.opcode, payload, frame.fin, reserved)

/** Appends a byte to each frame, and marks the first of a message with a reserved bit. What it takes off must be that byte. */
const stamp = (byte: number, reservedBit: number): Extension.Session => ({
  encode: (frame) =>
    withPayload(
      frame,
      Uint8Array.from([...frame.payload, byte]),
      frame.opcode === Frame.Opcode.Continuation ? frame.reserved : frame.reserved | reservedBit
    ),
  decode: (frame, { limit, used }) => {
    const payload = frame.payload.subarray(0, -1)
    if (frame.payload.at(-1) !== byte) {
      return new ProtocolError.InvalidExtensionData({ extension: "x-stamp", problem: `byte ${byte} is missing` })
    }
    if (used + payload.length > limit) return new ProtocolError.MessageTooLarge({ size: used + payload.length, limit })
    return withPayload(frame, payload, frame.reserved & ~reservedBit)
  }
})

/** The same, but each frame takes the time that `wait` takes. */
const slowly = (session: Extension.Session, wait: Effect.Effect<void>): Extension.Session => ({
  encode: (frame, options) => Effect.map(wait, () => session.encode(frame, options) as Frame.Frame),
  decode: (frame, room) =>
    Effect.flatMap(wait, () => {
      const decoded = session.decode(frame, room)
      return decoded instanceof Frame.Frame ? Effect.succeed(decoded) : Effect.fail(decoded as Extension.DecodeError)
    })
})

const agreed = (session: Extension.Session, reservedBits: number, name = "x-stamp"): Extension.Negotiated => ({
  entry: { name, parameters: [] },
  reservedBits,
  open: Effect.succeed(session)
})

const one = agreed(stamp(1, Rsv2), Rsv2, "x-one")
const two = agreed(stamp(2, Rsv3), Rsv3, "x-two")
const always = agreed(stamp(3, 0), 0, "x-always")

const wire = (frames: ReadonlyArray<Frame.Frame>) =>
  frames.map(({ opcode, payload, reserved }) => [opcode, reserved, ...payload])

const text = (bytes: ReadonlyArray<number>, reserved: number, fin = true) =>
  new Frame.Frame(Frame.Opcode.Text, Uint8Array.from(bytes), fin, reserved)
const continuation = (bytes: ReadonlyArray<number>, fin = true) =>
  new Frame.Frame(Frame.Opcode.Continuation, Uint8Array.from(bytes), fin)

describe("sending", () => {
  it.effect("passes through all, the first that was agreed on first (§9.1)", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [one, two, always] })
      yield* connection.send("a")
      yield* connection.sendAll(["b", Uint8Array.of(7)])
      yield* connection.sendFragments(Stream.make("c", "d"))
      yield* settle
      assert.deepStrictEqual(wire(peer.received), [
        [1, Rsv2 | Rsv3, 0x61, 1, 2, 3],
        [1, Rsv2 | Rsv3, 0x62, 1, 2, 3],
        [2, Rsv2 | Rsv3, 7, 1, 2, 3],
        [1, Rsv2 | Rsv3, 0x63, 1, 2, 3],
        [0, 0, 0x64, 1, 2, 3]
      ])
      assert.deepStrictEqual(connection.extensions.map(({ name }) => name), ["x-one", "x-two", "x-always"])
    }))

  it.effect("tells extensions how a message is to be sent", () =>
    Effect.gen(function*() {
      const told: Array<Extension.SendOptions> = []
      const listener: Extension.Session = {
        encode: (frame, options) => {
          told.push(options)
          return frame
        },
        decode: (frame) => frame
      }
      const { connection } = yield* makeRaw({ role: "server", negotiated: [agreed(listener, 0)] })
      yield* connection.send("a", { compress: false })
      yield* connection.sendAll(["b"], { compress: true })
      yield* connection.sendFragments(Stream.make("c"), { compress: false })
      yield* connection.sendFrame(Frame.text("d"), { compress: false })
      yield* connection.sendFrame(Frame.text("e"))
      yield* connection.send("f")
      assert.deepStrictEqual(told.map(({ compress }) => compress), [false, true, false, false, undefined, undefined])
    }))

  it.effect("keeps the order where an extension takes its time, and lets control frames pass", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const slow = agreed(slowly(stamp(1, Rsv2), Deferred.await(gate)), Rsv2)
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [slow] })
      const fibers = yield* Effect.forEach(
        [connection.sendAll(["a", "b"]), connection.send("c"), connection.sendFragments(Stream.make("d", "e"))],
        (sending) => Effect.forkChild(sending, { startImmediately: true })
      )
      yield* Effect.forkChild(connection.ping("p"))
      yield* settle
      assert.deepStrictEqual(wire(peer.received), [[9, 0, 0x70]])
      yield* Deferred.succeed(gate, undefined)
      yield* Effect.forEach(fibers, Fiber.join)
      yield* settle
      const sent = peer.received.slice(1).map((frame) => Buffer.from(frame.payload.subarray(0, -1)).toString())
      assert.deepStrictEqual(sent, ["a", "b", "c", "d", "e"])
    }))

  it.effect("sends what it has begun to encode, also when the sender is interrupted", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const encoded: Array<number> = []
        const inner = stamp(1, Rsv2)
        const counting: Extension.Session = {
          ...inner,
          encode: (frame, options) => {
            encoded.push(frame.payload[0])
            return inner.encode(frame, options)
          }
        }
        const slow = agreed(slowly(counting, Effect.yieldNow), Rsv2)
        const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [slow] })
        return {
          effect: connection.send("a"),
          events: [],
          verify: () =>
            Effect.gen(function*() {
              yield* settle
              assert.deepStrictEqual(peer.received.map((frame) => frame.payload[0]), encoded)
              yield* connection.send("z")
              yield* settle
              assert.strictEqual(peer.received.at(-1)!.payload[0], 0x7a)
            })
        }
      }))
      assert.isAbove(points, 3)
    }))

  it.effect("fails when the connection ends while a message is being encoded", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const slow = agreed(slowly(stamp(1, Rsv2), Deferred.await(gate)), Rsv2)
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [slow] })
      const sending = yield* Effect.forkChild(Effect.flip(connection.send("a")), { startImmediately: true })
      peer.transport.destroy()
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(sending))._tag, "ConnectionClosed")
    }))
})

describe("receiving", () => {
  it.effect("passes through those whose bit is set, the last first", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [one, two] })
      peer.send(
        text([0x61, 1, 2], Rsv2 | Rsv3),
        text([0x62, 1], Rsv2),
        text([0x63, 2], Rsv3),
        text([0x64], 0),
        text([0x65, 1], Rsv2, false),
        continuation([0x66, 1], false),
        Frame.ping(),
        continuation([1])
      )
      const got = yield* Effect.replicateEffect(connection.receive, 5)
      assert.deepStrictEqual(got.map(contentOf), ["a", "b", "c", "d", "ef"])
    }))

  it.effect("gives decoded frames, fragments and batches too", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [one] })
      peer.send(text([0x61, 1], Rsv2, false), continuation([0x62, 1]), text([0x63, 1], Rsv2), text([0x64, 1], Rsv2))
      const message = yield* connection.receiveFragments
      assert.deepStrictEqual(yield* Stream.runCollect<string | Uint8Array, unknown, never>(message.fragments), [
        "a",
        "b"
      ])
      const frames = yield* Stream.runCollect(Stream.take(connection.frames, 1))
      assert.deepStrictEqual(wire(frames), [[1, 0, 0x63]])
    }))

  it.effect("decodes no more at a time than the mark allows", () =>
    Effect.gen(function*() {
      let decoded = 0
      const inflate: Extension.Session = {
        encode: (frame) => frame,
        decode: (frame) => {
          decoded++
          return withPayload(frame, new Uint8Array(1000), 0)
        }
      }
      const { connection, peer } = yield* makeRaw({
        role: "server",
        inboundHighWaterMark: 4000,
        negotiated: [agreed(inflate, Rsv2)]
      })
      peer.send(...Array.from({ length: 20 }, () => new Frame.Frame(Frame.Opcode.Binary, Uint8Array.of(1), true, Rsv2)))
      yield* settle
      assert.strictEqual(decoded, 0)
      const [batch] = yield* connection.messages.pipe(Stream.chunks, Stream.take(1), Stream.runCollect)
      assert.strictEqual(batch.length, 4)
      assert.isAtMost(decoded, 5)
    }))

  it.effect("loses nothing when a receive is interrupted while a frame is being decoded", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const slow = agreed(slowly(stamp(1, Rsv2), Effect.yieldNow), Rsv2)
        const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [slow] })
        const got: Array<unknown> = []
        return {
          effect: Effect.map(connection.receive, (message) => {
            got.push(contentOf(message))
          }),
          events: [() => peer.send(text([0x61, 1], Rsv2), text([0x62, 1], Rsv2))],
          verify: () =>
            Effect.gen(function*() {
              while (got.length < 2) got.push(contentOf(yield* connection.receive))
              assert.deepStrictEqual(got, ["a", "b"])
            })
        }
      }))
      assert.isAbove(points, 5)
    }))

  it.effect("gives each of several fibers messages of its own", () =>
    Effect.gen(function*() {
      const slow = agreed(slowly(stamp(1, Rsv2), Effect.yieldNow), Rsv2)
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [slow] })
      const fibers = yield* Effect.replicateEffect(Effect.forkChild(connection.receive, { startImmediately: true }), 3)
      peer.send(text([0x61, 1], Rsv2), text([0x62, 1], Rsv2), text([0x63, 1], Rsv2))
      const got = yield* Effect.forEach(fibers, Fiber.join)
      assert.sameMembers(got.map(contentOf), ["a", "b", "c"])
    }))
})

describe("what cannot be decoded", () => {
  const table: ReadonlyArray<
    readonly [what: string, frames: ReadonlyArray<Frame.Frame>, tag: string, code: number, facts: object]
  > = [
    ["data that makes no sense", [text([0x61], Rsv2)], "InvalidExtensionData", 1007, { problem: "byte 1 is missing" }],
    ["a message over the limit", [text([1, 2, 3, 4, 5, 1], Rsv2)], "MessageTooLarge", 1009, { size: 5, limit: 4 }],
    [
      "a message over the limit with its second fragment",
      [text([0x61, 0x62, 1], Rsv2, false), continuation([0x61, 0x62, 0x63, 1])],
      "MessageTooLarge",
      1009,
      { size: 5, limit: 4 }
    ],
    ["text that is not UTF-8 (§8.1)", [text([0x61, 0xff, 1], Rsv2)], "InvalidUtf8", 1007, { offset: 1 }],
    [
      "text that ends in the middle of a code point",
      [text([0xc3, 1], Rsv2, false), continuation([1])],
      "InvalidUtf8",
      1007,
      { offset: 1 }
    ]
  ]
  for (const mode of ["at once", "in time"]) {
    const session = mode === "at once" ? stamp(1, Rsv2) : slowly(stamp(1, Rsv2), Effect.yieldNow)
    for (const [what, frames, tag, code, facts] of table) {
      it.effect(`fails the connection with ${code} for ${what}, found ${mode}`, () =>
        Effect.gen(function*() {
          const { connection, peer } = yield* makeRaw({
            role: "server",
            maxMessageSize: 8,
            negotiated: [
              agreed({ ...session, decode: (frame, room) => session.decode(frame, { ...room, limit: 4 }) }, Rsv2)
            ]
          })
          peer.send(...frames)
          const ended = yield* Effect.flip(connection.receive)
          assert.strictEqual(ended.cause?._tag, tag)
          assert.deepInclude({ ...ended.cause }, facts)
          assert.deepStrictEqual(ended.sent, { code, reason: tag })
          assert.deepStrictEqual(yield* connection.closed, ended)
        }))
    }
  }

  it.effect("does not take encoded text for text", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [agreed(stamp(0xff, Rsv2), Rsv2)] })
      peer.send(text([0x61, 0xff], Rsv2), text([0xc3, 0xff], Rsv2, false), continuation([0xa9, 0xff]))
      const got = yield* Effect.replicateEffect(connection.receive, 2)
      assert.deepStrictEqual(got.map(contentOf), ["a", "é"])
    }))

  it.effect("is told to whoever reads it after the connection ended well", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [one] })
      peer.send(text([0x61, 1], Rsv2), text([0x62], Rsv2), Frame.close(1000))
      assert.isTrue((yield* connection.closed).normal)
      assert.strictEqual(contentOf(yield* connection.receive), "a")
      const ended = yield* Effect.flip(Stream.runDrain(connection.messages))
      assert.strictEqual(ended.cause?._tag, "InvalidExtensionData")
    }))

  it.effect("is the program's defect when the extension throws, and not the end of the process", () =>
    Effect.gen(function*() {
      const broken: Extension.Session = {
        encode: () => {
          throw new Error("cannot encode")
        },
        decode: () => {
          throw new Error("cannot decode")
        }
      }
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [agreed(broken, Rsv2)] })
      peer.send(text([0x61], Rsv2))
      yield* settle
      assert.isTrue(Exit.hasDies(yield* Effect.exit(connection.receive)))
      assert.isTrue(Exit.hasDies(yield* Effect.exit(connection.send("a"))))
      peer.send(text([0x62], 0))
      assert.strictEqual(contentOf(yield* connection.receive), "b")
    }))
})

describe("a session's Scope", () => {
  it.effect("is closed after the connection", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      const [left, right] = yield* Transport.makePair()
      yield* Connection.make(right, { role: "client" })
      const scope = yield* Scope.make()
      const open = Effect.as(
        Effect.acquireRelease(
          Effect.sync(() => told.push("opened")),
          () => Effect.sync(() => told.push("released"))
        ),
        stamp(1, Rsv2)
      )
      const connection = yield* Connection.make(left, { role: "server", negotiated: [{ ...one, open }] }).pipe(
        Scope.provide(scope)
      )
      yield* Effect.forkChild(Effect.map(connection.closed, () => told.push("closed")), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.deepStrictEqual(told, ["opened", "closed", "released"])
    }))
})

describe("over the network", () => {
  const stamped = (confirm: Extension.Extension["confirm"], released: Array<string> = []): Extension.Extension => ({
    name: "x-stamp",
    reservedBits: Rsv2,
    offers: [[{ name: "byte", value: "9" }]],
    accept: (parameters) => ({
      parameters,
      open: Effect.acquireRelease(Effect.succeed(stamp(9, Rsv2)), () => Effect.sync(() => released.push("server")))
    }),
    confirm
  })
  const confirming = stamped(() => Effect.succeed(stamp(9, Rsv2)))

  it.live("is agreed on in the handshake, and used", () =>
    Effect.gen(function*() {
      const released: Array<string> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* serve(
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            yield* connection.send(Extension.format(connection.extensions))
            yield* Stream.runForEach(connection.messages, connection.send)
          }),
          { serve: { extensions: [stamped(() => "unused", released)] } }
        )
        const client = yield* WebSocketClient.connect(server.url, { extensions: [confirming] })
        assert.strictEqual(Extension.format(client.extensions), "x-stamp; byte=9")
        assert.strictEqual(contentOf(yield* client.receive), "x-stamp; byte=9")
        yield* client.send("echo")
        assert.strictEqual(contentOf(yield* client.receive), "echo")
        const plain = yield* WebSocketClient.connect(server.url)
        assert.deepStrictEqual([contentOf(yield* plain.receive), plain.extensions], ["", []])
      }))
      assert.deepStrictEqual(released, ["server"])
    }))

  it.live("ends the socket when it cannot begin, and lets go of what had begun", () =>
    Effect.gen(function*() {
      const released: Array<string> = []
      const broken: Extension.Extension = {
        ...stamped(() => "unused"),
        accept: (parameters) => ({
          parameters,
          open: Effect.andThen(
            Effect.addFinalizer(() => Effect.sync(() => released.push("server"))),
            Effect.die("it cannot begin")
          )
        })
      }
      const server = yield* serve(Effect.never, { serve: { extensions: [broken] } })
      const client = yield* WebSocketClient.connect(server.url, { extensions: [confirming] })
      assert.strictEqual((yield* client.closed).clean, false)
      assert.deepStrictEqual(released, ["server"])
      assert.deepStrictEqual(yield* server.connections, [])
    }))

  it.effect("that takes too long to begin ends the socket with handshakeTimeout: no handler waits for it", () =>
    Effect.gen(function*() {
      const slow: Extension.Extension = {
        ...stamped(() => "unused"),
        accept: (parameters) => ({ parameters, open: Effect.never })
      }
      let handled = 0
      const server = yield* serve(Effect.sync(() => handled++), {
        handshakeTimeout: "5 seconds",
        serve: { extensions: [slow], maxConnections: 1, handlerTimeout: Infinity }
      })
      const client = yield* WebSocketClient.connect(server.url, { extensions: [confirming], keepalive: false })
      const waiting = yield* Effect.forkChild(client.closed, { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.isFalse((yield* Fiber.join(waiting)).clean)
      // Its place is somebody else's.
      const plain = yield* WebSocketClient.connect(server.url)
      assert.strictEqual((yield* plain.closed).code, 1000)
      assert.strictEqual(handled, 1)
    }))

  it.live("is refused by a client that did not mean it so", () =>
    Effect.gen(function*() {
      const server = yield* serve(Effect.flatMap(Connection.Connection, ({ closed }) => closed), {
        serve: { extensions: [confirming] }
      })
      const picky = stamped(() => "its byte must be 8")
      const error = yield* Effect.flip(WebSocketClient.connect(server.url, { extensions: [picky] }))
      assert.deepInclude({ ...error }, {
        _tag: "ExtensionMismatch",
        extension: "x-stamp",
        problem: "its byte must be 8"
      })
    }))
})

describe("messages", () => {
  it("are checked as text only where they are text", () => {
    const validator = new Message.Validator({}, (reserved) => reserved !== 0)
    const invalid = Uint8Array.of(0xff)
    assert.isUndefined(validator.check(new Frame.Frame(Frame.Opcode.Text, invalid, true, Rsv2)))
    assert.strictEqual(validator.check(new Frame.Frame(Frame.Opcode.Text, invalid))?._tag, "InvalidUtf8")
  })
})
