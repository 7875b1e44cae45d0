/** The extensions of a connection (RFC 6455 §9). */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Connection, Extension, Frame, Message, ProtocolError, Transport, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { Extensions } from "../../../src/internal/connection/extensionPipeline.ts"
import { contentOf, makeRaw, settle } from "../../support/memory.ts"
import { serve } from "../../support/net.ts"
import { interruptAtEachStep } from "../../support/interruptAtEachStep.ts"

const { Rsv2, Rsv3 } = Frame.Reserved

const withPayload = (frame: Frame.Frame, payload: Uint8Array, reserved: number) =>
  new Frame.Frame(frame.opcode, payload, frame.fin, reserved)

/** Appends a byte to each frame, sets a reserved bit on the first of a message, and removes both; rejects another byte. */
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

/** Waits before it encodes or decodes each frame. */
const delayed = (session: Extension.Session, wait: Effect.Effect<void>): Extension.Session => ({
  encode: (frame, options) => Effect.map(wait, () => session.encode(frame, options) as Frame.Frame),
  decode: (frame, room) =>
    Effect.flatMap(wait, () => {
      const decoded = session.decode(frame, room)
      return decoded instanceof Frame.Frame ? Effect.succeed(decoded) : Effect.fail(decoded as Extension.DecodeError)
    })
})

const negotiate = (session: Extension.Session, reservedBits: number, name = "x-stamp"): Extension.Negotiated => ({
  entry: { name, parameters: [] },
  reservedBits,
  open: Effect.succeed(session)
})

const one = negotiate(stamp(1, Rsv2), Rsv2, "x-one")
const two = negotiate(stamp(2, Rsv3), Rsv3, "x-two")
const always = negotiate(stamp(3, 0), 0, "x-always")

const wire = (frames: ReadonlyArray<Frame.Frame>) =>
  frames.map(({ opcode, payload, reserved }) => [opcode, reserved, ...payload])

const text = (bytes: ReadonlyArray<number>, reserved: number, fin = true) =>
  new Frame.Frame(Frame.Opcode.Text, Uint8Array.from(bytes), fin, reserved)
const continuation = (bytes: ReadonlyArray<number>, fin = true) =>
  new Frame.Frame(Frame.Opcode.Continuation, Uint8Array.from(bytes), fin)

describe("send", () => {
  it.effect("passes each frame through all extensions, the first negotiated first (§9.1)", () =>
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

  it.effect("passes the options of the message to the extensions", () =>
    Effect.gen(function*() {
      const received: Array<Extension.SendOptions> = []
      const recorder: Extension.Session = {
        encode: (frame, options) => {
          received.push(options)
          return frame
        },
        decode: (frame) => frame
      }
      const { connection } = yield* makeRaw({ role: "server", negotiated: [negotiate(recorder, 0)] })
      yield* connection.send("a", { compress: false })
      yield* connection.sendAll(["b"], { compress: true })
      yield* connection.sendFragments(Stream.make("c"), { compress: false })
      yield* connection.sendFrame(Frame.text("d"), { compress: false })
      yield* connection.sendFrame(Frame.text("e"))
      yield* connection.send("f")
      assert.deepStrictEqual(received.map(({ compress }) => compress), [
        false,
        true,
        false,
        false,
        undefined,
        undefined
      ])
    }))

  it.effect("keeps the order of messages while an extension waits, and sends control frames meanwhile", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const slow = negotiate(delayed(stamp(1, Rsv2), Deferred.await(gate)), Rsv2)
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

  it.effect("sends each message that it began to encode, also if the sender is interrupted", () =>
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
        const slow = negotiate(delayed(counting, Effect.yieldNow), Rsv2)
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

  it.effect("fails if the connection ends while an extension encodes the message", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const slow = negotiate(delayed(stamp(1, Rsv2), Deferred.await(gate)), Rsv2)
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [slow] })
      const sending = yield* Effect.forkChild(Effect.flip(connection.send("a")), { startImmediately: true })
      peer.transport.destroy()
      yield* settle
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual((yield* Fiber.join(sending))._tag, "ConnectionClosed")
    }))
})

describe("receive", () => {
  it.effect("passes each message through the extensions whose bit is set, the last negotiated first", () =>
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

  it.effect("returns decoded fragments and frames", () =>
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

  it.effect("decodes no more frames at a time than the high-water mark allows", () =>
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
        negotiated: [negotiate(inflate, Rsv2)]
      })
      peer.send(...Array.from({ length: 20 }, () => new Frame.Frame(Frame.Opcode.Binary, Uint8Array.of(1), true, Rsv2)))
      yield* settle
      assert.strictEqual(decoded, 0)
      const [batch] = yield* connection.messages.pipe(Stream.chunks, Stream.take(1), Stream.runCollect)
      assert.strictEqual(batch.length, 4)
      assert.isAtMost(decoded, 5)
    }))

  it.effect("loses no message if it is interrupted while an extension decodes a frame", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const slow = negotiate(delayed(stamp(1, Rsv2), Effect.yieldNow), Rsv2)
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

  it.effect("returns a different message to each of several fibers", () =>
    Effect.gen(function*() {
      const slow = negotiate(delayed(stamp(1, Rsv2), Effect.yieldNow), Rsv2)
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [slow] })
      const fibers = yield* Effect.replicateEffect(Effect.forkChild(connection.receive, { startImmediately: true }), 3)
      peer.send(text([0x61, 1], Rsv2), text([0x62, 1], Rsv2), text([0x63, 1], Rsv2))
      const got = yield* Effect.forEach(fibers, Fiber.join)
      assert.sameMembers(got.map(contentOf), ["a", "b", "c"])
    }))
})

describe("invalid data", () => {
  const table: ReadonlyArray<
    readonly [what: string, frames: ReadonlyArray<Frame.Frame>, tag: string, code: number, facts: object]
  > = [
    ["data that the extension rejects", [text([0x61], Rsv2)], "InvalidExtensionData", 1007, {
      problem: "byte 1 is missing"
    }],
    ["a message above the limit", [text([1, 2, 3, 4, 5, 1], Rsv2)], "MessageTooLarge", 1009, { size: 5, limit: 4 }],
    [
      "a message whose second fragment exceeds the limit",
      [text([0x61, 0x62, 1], Rsv2, false), continuation([0x61, 0x62, 0x63, 1])],
      "MessageTooLarge",
      1009,
      { size: 5, limit: 4 }
    ],
    ["text that is not UTF-8 (§8.1)", [text([0x61, 0xff, 1], Rsv2)], "InvalidUtf8", 1007, { offset: 1 }],
    [
      "text that ends inside a code point",
      [text([0xc3, 1], Rsv2, false), continuation([1])],
      "InvalidUtf8",
      1007,
      { offset: 1 }
    ]
  ]
  for (const when of ["at once", "after a wait"]) {
    const session = when === "at once" ? stamp(1, Rsv2) : delayed(stamp(1, Rsv2), Effect.yieldNow)
    for (const [what, frames, tag, code, facts] of table) {
      it.effect(`fails the connection with ${code} for ${what}, found ${when}`, () =>
        Effect.gen(function*() {
          const { connection, peer } = yield* makeRaw({
            role: "server",
            maxMessageSize: 8,
            negotiated: [
              negotiate({ ...session, decode: (frame, room) => session.decode(frame, { ...room, limit: 4 }) }, Rsv2)
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

  it.effect("checks that a text is UTF-8 after decoding, not before", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [negotiate(stamp(0xff, Rsv2), Rsv2)] })
      peer.send(text([0x61, 0xff], Rsv2), text([0xc3, 0xff], Rsv2, false), continuation([0xa9, 0xff]))
      const got = yield* Effect.replicateEffect(connection.receive, 2)
      assert.deepStrictEqual(got.map(contentOf), ["a", "é"])
    }))

  it.effect("fails a receive after a clean close with the cause", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [one] })
      peer.send(text([0x61, 1], Rsv2), text([0x62], Rsv2), Frame.close(1000))
      assert.isTrue((yield* connection.closed).normal)
      assert.strictEqual(contentOf(yield* connection.receive), "a")
      const ended = yield* Effect.flip(Stream.runDrain(connection.messages))
      assert.strictEqual(ended.cause?._tag, "InvalidExtensionData")
    }))

  it.effect("an extension that throws kills the fiber that sends or receives, not the process", () =>
    Effect.gen(function*() {
      const broken: Extension.Session = {
        encode: () => {
          throw new Error("cannot encode")
        },
        decode: () => {
          throw new Error("cannot decode")
        }
      }
      const { connection, peer } = yield* makeRaw({ role: "server", negotiated: [negotiate(broken, Rsv2)] })
      peer.send(text([0x61], Rsv2))
      yield* settle
      assert.isTrue(Exit.hasDies(yield* Effect.exit(connection.receive)))
      assert.isTrue(Exit.hasDies(yield* Effect.exit(connection.send("a"))))
      peer.send(text([0x62], 0))
      assert.strictEqual(contentOf(yield* connection.receive), "b")
    }))
})

describe("the Scope of a session", () => {
  it.effect("closes after the connection", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const [left, right] = yield* Transport.makePair()
      yield* Connection.make(right, { role: "client" })
      const scope = yield* Scope.make()
      const open = Effect.as(
        Effect.acquireRelease(
          Effect.sync(() => events.push("opened")),
          () => Effect.sync(() => events.push("released"))
        ),
        stamp(1, Rsv2)
      )
      const connection = yield* Connection.make(left, { role: "server", negotiated: [{ ...one, open }] }).pipe(
        Scope.provide(scope)
      )
      yield* Effect.forkChild(Effect.map(connection.closed, () => events.push("closed")), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      yield* settle
      assert.deepStrictEqual(events, ["opened", "closed", "released"])
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

  it.live("negotiates an extension in the handshake, and uses it", () =>
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

  it.live("ends the socket if a session fails to open, and closes its Scope", () =>
    Effect.gen(function*() {
      const released: Array<string> = []
      const broken: Extension.Extension = {
        ...stamped(() => "unused"),
        accept: (parameters) => ({
          parameters,
          open: Effect.andThen(
            Effect.addFinalizer(() => Effect.sync(() => released.push("server"))),
            Effect.die("the session failed to open")
          )
        })
      }
      const server = yield* serve(Effect.never, { serve: { extensions: [broken] } })
      const client = yield* WebSocketClient.connect(server.url, { extensions: [confirming] })
      assert.strictEqual((yield* client.closed).clean, false)
      assert.deepStrictEqual(released, ["server"])
      assert.deepStrictEqual(yield* server.connections, [])
    }))

  it.effect("ends the socket after handshakeTimeout if a session does not open, and runs no handler", () =>
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
      // It does not count as a connection any more.
      const plain = yield* WebSocketClient.connect(server.url)
      assert.strictEqual((yield* plain.closed).code, 1000)
      assert.strictEqual(handled, 1)
    }))

  it.live("fails connect with ExtensionMismatch if the client rejects the accepted parameters", () =>
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

describe("Extensions.decode", () => {
  const piece = new Frame.Piece(Frame.Opcode.Binary, Uint8Array.of(1), true, Rsv2, { offset: 5, remaining: 7 })
  const decoded = new Frame.Frame(Frame.Opcode.Binary, Uint8Array.of(2, 3))
  const marked = new Frame.Piece(Frame.Opcode.Binary, decoded.payload, true, 0, { offset: 5, remaining: 7 })
  const error = new ProtocolError.MessageTooLarge({ size: 2, limit: 1 })

  for (
    const [what, outcome, expected] of [
      ["the piece itself", piece, Exit.succeed(piece)],
      ["a frame", decoded, Exit.succeed(marked)],
      ["a frame after a wait", Effect.as(Effect.yieldNow, decoded), Exit.succeed(marked)],
      ["an error", error, Exit.fail(error)],
      ["an error after a wait", Effect.andThen(Effect.yieldNow, Effect.fail(error)), Exit.fail(error)]
    ] as const
  ) {
    it.effect(`keeps the place of a piece in its frame, if the extension returns ${what}`, () =>
      Effect.gen(function*() {
        const session: Extension.Session = { acceptsPieces: true, encode: (frame) => frame, decode: () => outcome }
        const result = new Extensions([{ reservedBits: Rsv2, session }], 1000).decode(piece)
        if (!Effect.isEffect(result)) assert.strictEqual(result instanceof Frame.Piece, true)
        const exit = yield* Effect.exit(Effect.isEffect(result) ? result : Effect.succeed(result))
        assert.deepStrictEqual(exit, expected)
      }))
  }
})

describe("Message.Validator", () => {
  it("checks a text for UTF-8 only if no extension encoded it", () => {
    const validator = new Message.Validator({}, (reserved) => reserved !== 0)
    const invalid = Uint8Array.of(0xff)
    assert.isUndefined(validator.check(new Frame.Frame(Frame.Opcode.Text, invalid, true, Rsv2)))
    assert.strictEqual(validator.check(new Frame.Frame(Frame.Opcode.Text, invalid))?._tag, "InvalidUtf8")
  })
})
