import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, Stream } from "effect"
import { identity } from "effect/Function"
import { CloseCode, Connection, Extension, Frame, PerMessageDeflate, Transport } from "effect-ws"
import type { Relayed, RelayEnd, RelayOptions } from "effect-ws/Connection"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"
import { contentOf, makeRaw, opcodesOf, settle, turn } from "../support/memory.ts"
import type { MemoryPeer } from "../../src/internal/memory/peer.ts"
import { among, anyBoolean, anyBytes, either, patterned } from "../support/properties.ts"

const { Binary, Close, Continuation, Ping, Pong, Text } = Frame.Opcode

const piece = 64 * 1024
/** The payload of pings. */
const mark = Uint8Array.of(63)

/** Lets a relay pass on all that has arrived, however many reads and writes that takes. */
const settleAll = Effect.replicateEffect(Effect.andThen(settle, turn), 10, { discard: true })

/** A gateway: the client is the peer of `left`, the other server is the peer of `right`. */
const makeEnds = (options?: {
  readonly left?: Connection.Options
  readonly right?: Connection.Options
  readonly highWaterMark?: number
}) =>
  Effect.gen(function*() {
    const transport = { highWaterMark: options?.highWaterMark ?? 16 * 1024 }
    const left = yield* makeRaw({ ...options?.left, role: "server" }, transport)
    const right = yield* makeRaw({ ...options?.right, role: "client" }, transport)
    return { left: left.connection, right: right.connection, client: left.peer, upstream: right.peer }
  })

const startRelay = (
  left: Connection.Connection,
  right: Connection.Connection,
  options?: RelayOptions
): Effect.Effect<Fiber.Fiber<Relayed>> =>
  Effect.forkDetach(Connection.relay(left, right, options), { startImmediately: true })

/** A gateway that relays. */
const makeGateway = (options?: Parameters<typeof makeEnds>[0] & RelayOptions) =>
  Effect.gen(function*() {
    const ends = yield* makeEnds(options)
    return { ...ends, relay: yield* startRelay(ends.left, ends.right, options) }
  })

/** A connection whose relay uses its public members only. */
const overridden = (connection: Connection.Connection): Connection.Connection =>
  Connection.decorate(connection, { sendFrame: (frame, options) => connection.sendFrame(frame, options) })

const dataOf = (frames: ReadonlyArray<Frame.Frame>): ReadonlyArray<Frame.Frame> =>
  frames.filter((frame) => !Frame.isControl(frame))

const shown = (frames: ReadonlyArray<Frame.Frame>) =>
  frames.map(({ fin, opcode, payload }) => ({ opcode, fin, payload: Buffer.from(payload).toString("latin1") }))

/** The close frame that a peer has received, if it has. */
const closeOf = (peer: MemoryPeer): Frame.CloseFrame | undefined => {
  const frame = peer.received.find(({ opcode }) => opcode === Close)
  return frame && Frame.readClose(frame.payload) as Frame.CloseFrame
}

const closedAs = ({ cause, closedBy, code, reason }: Relayed["left"]) => [closedBy, code, reason, cause?._tag]

// -----------------------------------------------------------------------------
// Data
// -----------------------------------------------------------------------------

/** A message in one frame or several, with pings between them. */
const anyMessage: Arbitrary.Arbitrary<ReadonlyArray<Frame.Frame>> = Arbitrary.map(
  Arbitrary.all([
    anyBoolean,
    Arbitrary.array(
      Arbitrary.all([
        either(anyBytes(), Arbitrary.map(among(0, 1, 126, 5000, 70_000), patterned)),
        anyBoolean
      ]),
      { minLength: 1, maxLength: 4 }
    )
  ]),
  ([isText, parts]) =>
    parts.flatMap(([part, pings], i) => {
      const payload = isText ? part.map((byte) => byte & 0x7f) : part
      const opcode = i > 0 ? Continuation : isText ? Text : Binary
      const frame = new Frame.Frame(opcode, payload, i === parts.length - 1)
      return pings ? [Frame.ping(mark), frame] : [frame]
    })
)

const anyMessages = Arbitrary.array(anyMessage, { maxLength: 6 })

const anyEnd: Arbitrary.Arbitrary<Frame.CloseFrame | undefined> = among<Frame.CloseFrame | undefined>(
  undefined,
  { code: 1005, reason: "" },
  { code: 1000, reason: "" },
  { code: 1001, reason: "bye" },
  { code: 4321, reason: "€".repeat(41) }
)

/** Writes frames and an end in pieces, as a network would. */
const play = (peer: MemoryPeer, role: Frame.Role, frames: ReadonlyArray<Frame.Frame>, chunkSize: number) =>
  Effect.gen(function*() {
    const bytes = Buffer.concat(frames.map((frame) => Frame.encode(frame, role === "client" ? 0x1234567 : undefined)))
    for (let at = 0; at < bytes.length; at += chunkSize) {
      peer.sendBytes(bytes.subarray(at, at + chunkSize))
      yield* turn
    }
  })

/** Frames above the size of a piece, cut into fragments of that size. */
const inPieces = (frames: ReadonlyArray<Frame.Frame>): ReadonlyArray<Frame.Frame> =>
  frames.flatMap(({ fin, opcode, payload }) => {
    const count = Math.max(1, Math.ceil(payload.length / piece))
    return Array.from({ length: count }, (_, i) =>
      new Frame.Frame(
        i === 0 ? opcode : Continuation,
        payload.subarray(i * piece, (i + 1) * piece),
        fin && i === count - 1
      ))
  })

describe("a relay", () => {
  it.effect.prop(
    "passes on the frames of both peers, unchanged and in order, and then the end",
    {
      fromClient: anyMessages,
      fromUpstream: anyMessages,
      clientEnds: anyBoolean,
      end: anyEnd,
      chunkSize: among(30_000, 1000, 65_536)
    },
    ({ chunkSize, clientEnds, end, fromClient, fromUpstream }) =>
      Effect.gen(function*() {
        const { client, relay, upstream } = yield* makeGateway()
        yield* Effect.all([
          play(client, "client", fromClient.flat(), chunkSize),
          play(upstream, "server", fromUpstream.flat(), chunkSize)
        ], { concurrency: 2 })
        yield* settleAll
        const [one, other] = clientEnds ? [client, upstream] : [upstream, client]
        if (end === undefined) one.transport.end()
        else one.send(Frame.close(end.code, end.reason))
        yield* settleAll
        assert.deepStrictEqual(shown(dataOf(upstream.received)), shown(inPieces(dataOf(fromClient.flat()))))
        assert.deepStrictEqual(shown(dataOf(client.received)), shown(inPieces(dataOf(fromUpstream.flat()))))
        for (const [peer, frames] of [[client, fromClient], [upstream, fromUpstream]] as const) {
          const pings = frames.flat().filter(({ opcode }) => opcode === Ping)
          const pongs = peer.received.filter(({ opcode }) => opcode === Pong)
          assert.isAtMost(pongs.length, pings.length)
          assert.strictEqual(pongs.length > 0, pings.length > 0)
        }
        assert.deepStrictEqual(closeOf(other), end)
        if (end === undefined) assert.isTrue(other.receivedEof)
        else other.send(Frame.close(end.code))
        for (const peer of [client, upstream]) peer.transport.end()
        const relayed = yield* Fiber.join(relay)
        assert.strictEqual(relayed.endedBy, clientEnds ? "left" : "right")
        const { cause, code, reason } = relayed[relayed.endedBy]
        assert.deepStrictEqual([code, reason], [end?.code ?? 1006, end?.reason ?? ""])
        assert.strictEqual(cause?._tag, end === undefined ? "UnexpectedEof" : undefined)
      }).pipe(Effect.scoped),
    { arbitrary: { runs: 100 } }
  )

  it.effect("passes on a large frame while it arrives", () =>
    Effect.gen(function*() {
      const { client, upstream } = yield* makeGateway({ highWaterMark: Infinity })
      const payload = patterned(20 * piece)
      const wire = Frame.encode(Frame.binary(payload), 0x1234567)
      client.sendBytes(wire.subarray(0, wire.length / 2))
      yield* settleAll
      assert.strictEqual(upstream.received.length, 9)
      client.sendBytes(wire.subarray(wire.length / 2))
      yield* settleAll
      const frames = upstream.received
      assert.isTrue(Buffer.from(payload).equals(Buffer.concat(frames.map((frame) => frame.payload))))
      assert.deepStrictEqual(frames.map(({ fin }) => fin), Array.from({ length: 20 }, (_, i) => i === 19))
    }))

  it.effect("holds one peer back while the other does not read, and keeps no more than the marks", () =>
    Effect.gen(function*() {
      const { client, left, relay, right, upstream } = yield* makeGateway()
      upstream.transport.pause()
      const payload = patterned(4096)
      const count = 1000
      for (let i = 0; i < count; i++) client.send(Frame.binary(payload))
      yield* settleAll
      const before = { left: yield* left.stats, right: yield* right.stats }
      assert.isAtMost(before.left.unreadAmount + before.right.bufferedAmount, 4 * piece)
      assert.isBelow(before.left.messagesIn, count / 4)
      assert.isAbove(before.right.bufferedAmount, 0)
      // The other direction is not held back.
      upstream.send(Frame.text("meanwhile"))
      yield* settleAll
      assert.strictEqual(client.received.length, 1)
      upstream.transport.resume()
      while (upstream.received.length < count) yield* turn
      assert.strictEqual(contentOf({ _tag: "Text", bytes: client.received[0].payload }), "meanwhile")
      assert.strictEqual((yield* left.stats).unreadAmount, 0)
      yield* Fiber.interrupt(relay)
    }))

  for (const compressed of [["left"], ["right"], ["left", "right"]]) {
    it.effect(`compresses for each connection that has negotiated it: ${compressed.join(" and ")}`, () =>
      Effect.gen(function*() {
        const negotiate = (side: string) => {
          const extension = PerMessageDeflate.make({ threshold: 0 })
          return compressed.includes(side)
            ? [() => Extension.accept([extension], Extension.offer([extension]))]
            : [() => []]
        }
        const pair = (side: string) =>
          Effect.gen(function*() {
            const [negotiated] = negotiate(side)
            const [ours, theirs] = yield* Transport.makePair()
            const near = yield* Connection.make(ours, {
              keepalive: false,
              role: side === "left" ? "server" : "client",
              negotiated: negotiated()
            })
            const far = yield* Connection.make(theirs, {
              keepalive: false,
              role: side === "left" ? "client" : "server",
              negotiated: negotiated()
            })
            return { near, far }
          })
        const left = yield* pair("left")
        const right = yield* pair("right")
        const relay = yield* startRelay(left.near, right.near)
        const text = "compress this, and this, and this. ".repeat(1000)
        for (const [from, to] of [[left, right], [right, left]]) {
          yield* from.far.sendAll([text, Uint8Array.of(1, 2, 3), text])
          yield* from.far.sendFrame(Frame.text(text, { fin: false }))
          yield* from.far.sendFrame(Frame.continuation("end"))
          const got = [yield* to.far.receive, yield* to.far.receive, yield* to.far.receive, yield* to.far.receive]
          assert.deepStrictEqual(got.map(contentOf), [text, [1, 2, 3], text, text + "end"])
        }
        for (const [side, { near }] of [["left", left], ["right", right]] as const) {
          const { bytesIn, bytesOut } = yield* near.stats
          if (compressed.includes(side)) assert.isBelow(bytesIn + bytesOut, 10_000)
          else assert.isAbove(bytesIn + bytesOut, 6 * text.length)
        }
        yield* left.far.close(4000, "done")
        const relayed = yield* Fiber.join(relay)
        assert.deepStrictEqual(closedAs(yield* right.far.closed), ["remote", 4000, "done", undefined])
        assert.strictEqual(relayed.endedBy, "left")
      }))
  }

  it.effect("answers pings on each side, also if they are left to the program", () =>
    Effect.gen(function*() {
      const { client, upstream } = yield* makeGateway({ left: { autoPong: false } })
      client.send(Frame.text("one"), Frame.ping(mark), Frame.text("two"))
      upstream.send(Frame.ping(mark))
      yield* settleAll
      assert.deepStrictEqual(shown(client.received), shown([Frame.pong(mark)]))
      assert.deepStrictEqual(opcodesOf(upstream.received).toSorted(), [Text, Text, Pong])
    }))

  for (const [kind, decorate] of [["", identity], [", with overridden members", overridden]] as const) {
    it.effect(`skips the rest of a message whose beginning was read before${kind}`, () =>
      Effect.gen(function*() {
        for (const together of [true, false]) {
          const { client, left, right, upstream } = yield* makeEnds()
          client.send(Frame.text("a", { fin: false }))
          assert.strictEqual((yield* left.receiveFragments)._tag, "Text")
          yield* startRelay(decorate(left), decorate(right))
          const frames = [Frame.continuation("b", { fin: false }), Frame.continuation("c"), Frame.text("next")]
          for (const sent of together ? [frames] : frames.map((frame) => [frame])) {
            client.send(...sent)
            yield* settleAll
          }
          yield* settleAll
          assert.deepStrictEqual(shown(upstream.received), shown([Frame.text("next")]))
        }
      }))
  }

  it.effect("lets other fibers send between its messages, and not within them", () =>
    Effect.gen(function*() {
      const { client, right, upstream } = yield* makeGateway()
      client.send(Frame.text("a", { fin: false }))
      yield* settleAll
      const sending = yield* Effect.forkChild(right.send("other"))
      yield* settleAll
      assert.strictEqual(upstream.received.length, 1)
      client.send(Frame.continuation("b"), Frame.text("c"))
      yield* settleAll
      yield* Fiber.join(sending)
      assert.sameDeepMembers(shown(upstream.received.slice(2)), shown([Frame.text("other"), Frame.text("c")]))
    }))
})

// -----------------------------------------------------------------------------
// Ends
// -----------------------------------------------------------------------------

interface Case {
  readonly title: string
  /** Ends the connection of a side; `peer` is the peer of that side. */
  readonly end: (peer: MemoryPeer, connection: Connection.Connection) => void
  /** The close frame that the other peer gets; undefined if it gets none. */
  readonly passedOn: Frame.CloseFrame | undefined
  /** `closedBy`, `code`, `reason` and the tag of the cause. */
  readonly closed: ReadonlyArray<unknown>
}

const cases: ReadonlyArray<Case> = [
  {
    title: "1000 of a peer",
    end: (peer) => peer.send(Frame.close(1000)),
    passedOn: { code: 1000, reason: "" },
    closed: ["remote", 1000, "", undefined]
  },
  {
    title: "a code and a reason of a peer",
    end: (peer) => peer.send(Frame.close(4001, "try elsewhere")),
    passedOn: { code: 4001, reason: "try elsewhere" },
    closed: ["remote", 4001, "try elsewhere", undefined]
  },
  {
    title: "the longest reason of a peer",
    end: (peer) => peer.send(Frame.close(3000, "€".repeat(41))),
    passedOn: { code: 3000, reason: "€".repeat(41) },
    closed: ["remote", 3000, "€".repeat(41), undefined]
  },
  {
    title: "an empty close frame of a peer",
    end: (peer) => peer.send(Frame.close()),
    passedOn: { code: 1005, reason: "" },
    closed: ["remote", 1005, "", undefined]
  },
  {
    title: "a close frame within a message",
    end: (peer) => peer.send(Frame.text("a", { fin: false }), Frame.close(1001)),
    passedOn: { code: 1001, reason: "" },
    closed: ["remote", 1001, "", undefined]
  },
  {
    title: "the end of the transport",
    end: (peer) => peer.transport.end(),
    passedOn: undefined,
    closed: [undefined, 1006, "", "UnexpectedEof"]
  },
  {
    title: "the loss of the transport within a message",
    end: (peer) => {
      peer.send(Frame.text("a", { fin: false }))
      setImmediate(() => peer.transport.destroy())
    },
    passedOn: undefined,
    closed: [undefined, 1006, "", "UnexpectedEof"]
  },
  {
    title: "a message that is too large",
    end: (peer) => peer.send(Frame.text("x".repeat(2000))),
    passedOn: undefined,
    closed: ["local", 1009, "MessageTooLarge", "MessageTooLarge"]
  },
  {
    title: "a close frame of this end's program",
    end: (peer, connection) => {
      Effect.runFork(connection.close(1001, "maintenance"))
      setImmediate(() => peer.send(Frame.close(1001)))
    },
    passedOn: { code: 1001, reason: "maintenance" },
    closed: ["local", 1001, "maintenance", undefined]
  },
  {
    title: "terminate of this end's program",
    end: (_, connection) => void setImmediate(() => Effect.runFork(connection.terminate)),
    passedOn: undefined,
    closed: [undefined, 1006, "", "Terminated"]
  }
]

describe("a relay whose connection ends", () => {
  for (const side of ["left", "right"] as const) {
    for (const { closed, end, passedOn, title } of cases) {
      it.effect(`passes on ${title} from the ${side}, behind all messages`, () =>
        Effect.gen(function*() {
          const ends = yield* makeGateway({ left: { maxMessageSize: 1000 }, right: { maxMessageSize: 1000 } })
          const [from, to] = side === "left" ? [ends.client, ends.upstream] : [ends.upstream, ends.client]
          for (let i = 0; i < 100; i++) from.send(Frame.text(String(i)))
          end(from, ends[side])
          yield* settleAll
          assert.strictEqual(dataOf(to.received).filter(({ fin }) => fin).length, 100)
          assert.deepStrictEqual(closeOf(to), passedOn)
          if (passedOn === undefined) assert.isTrue(to.receivedEof)
          else to.send(Frame.close(passedOn.code))
          from.transport.end()
          to.transport.end()
          const relayed = yield* Fiber.join(ends.relay)
          assert.strictEqual(relayed.endedBy, side)
          assert.deepStrictEqual(closedAs(relayed[side]), closed)
          const other = relayed[side === "left" ? "right" : "left"]
          assert.deepStrictEqual(
            closedAs(other),
            passedOn === undefined
              ? [undefined, 1006, "", "Terminated"]
              : ["local", passedOn.code, passedOn.reason, undefined]
          )
        }))
    }
  }

  it.effect("without a close frame is passed on when all that was sent before has left", () =>
    Effect.gen(function*() {
      const { client, relay, upstream } = yield* makeGateway()
      upstream.transport.pause()
      client.send(Frame.binary(patterned(5000)), Frame.binary(patterned(40_000)))
      yield* settleAll
      client.transport.destroy()
      yield* settleAll
      assert.isUndefined(relay.pollUnsafe())
      upstream.transport.resume()
      yield* settleAll
      assert.deepStrictEqual(upstream.received.map(({ payload }) => payload.length), [5000, 40_000])
      assert.isTrue(upstream.receivedEof)
      upstream.transport.end()
      assert.strictEqual((yield* Fiber.join(relay)).endedBy, "left")
    }))

  it.effect("ends the other as closeOther says", () =>
    Effect.gen(function*() {
      const seen: Array<RelayEnd> = []
      const { client, left, relay, upstream } = yield* makeGateway({
        closeOther: (end) => {
          seen.push(end)
          return { code: CloseCode.BadGateway, reason: "upstream is gone" }
        }
      })
      upstream.transport.destroy()
      yield* settleAll
      assert.deepStrictEqual(closeOf(client), { code: 1014, reason: "upstream is gone" })
      client.send(Frame.close(1014))
      client.transport.end()
      const relayed = yield* Fiber.join(relay)
      assert.deepStrictEqual(seen, [{ endedBy: "right", closed: relayed.right, closeFrame: undefined }])
      assert.strictEqual(relayed.left, yield* left.closed)
    }))

  it.effect("dies with InvalidCloseCode if closeOther returns a code that must not be sent", () =>
    Effect.gen(function*() {
      const { relay, upstream } = yield* makeGateway({ closeOther: () => ({ code: 1006, reason: "" }) })
      upstream.transport.destroy()
      const exit = yield* Fiber.await(relay)
      assert.isTrue(Exit.isFailure(exit) && String(exit.cause).includes("InvalidCloseCode"), String(exit))
    }))

  it.effect("does not wait for a peer that reads no more and closes", () =>
    Effect.gen(function*() {
      const { client, relay, upstream } = yield* makeGateway()
      upstream.transport.pause()
      for (let i = 0; i < 100; i++) client.send(Frame.binary(patterned(4096)))
      yield* settleAll
      upstream.send(Frame.close(4002, "enough"))
      upstream.transport.destroy()
      yield* settleAll
      assert.deepStrictEqual(closeOf(client), { code: 4002, reason: "enough" })
      client.transport.destroy()
      const relayed = yield* Fiber.join(relay)
      assert.deepStrictEqual([relayed.endedBy, relayed.right.code], ["right", 4002])
    }))

  it.effect("answers the peer with the code that it sent, after the other has closed, with autoClose: false", () =>
    Effect.gen(function*() {
      const { client, relay, upstream } = yield* makeGateway({ left: { autoClose: false } })
      client.send(Frame.text("last"), Frame.close(4003, "done"))
      yield* settleAll
      assert.deepStrictEqual(closeOf(upstream), { code: 4003, reason: "done" })
      assert.isUndefined(closeOf(client))
      // What the other peer sends before its close frame still arrives.
      upstream.send(Frame.text("answer"), Frame.close(4003))
      yield* settleAll
      assert.deepStrictEqual(shown(dataOf(client.received)), shown([Frame.text("answer")]))
      assert.deepStrictEqual(closeOf(client), { code: 4003, reason: "" })
      client.transport.end()
      upstream.transport.end()
      const relayed = yield* Fiber.join(relay)
      assert.deepStrictEqual([relayed.endedBy, relayed.left.clean, relayed.right.clean], ["left", true, true])
    }))
})

// -----------------------------------------------------------------------------
// Overridden members
// -----------------------------------------------------------------------------

describe("a relay of connections with overridden members", () => {
  const makeOverridden = (options?: Parameters<typeof makeEnds>[0]) =>
    Effect.gen(function*() {
      const ends = yield* makeEnds(options)
      return { ...ends, relay: yield* startRelay(overridden(ends.left), overridden(ends.right)) }
    })

  it.effect("sends through the overridden sendFrame", () =>
    Effect.gen(function*() {
      const { client, left, right, upstream } = yield* makeEnds()
      const stamped = Connection.decorate(right, {
        sendFrame: (frame, options) =>
          right.sendFrame(new Frame.Frame(frame.opcode, Uint8Array.of(33, ...frame.payload), frame.fin), options)
      })
      yield* startRelay(left, stamped)
      client.send(Frame.text("a", { fin: false }), Frame.continuation("b"))
      yield* settleAll
      assert.deepStrictEqual(
        shown(upstream.received),
        shown([Frame.text("!a", { fin: false }), Frame.continuation("!b")])
      )
    }))

  for (const [autoClose, code] of [[true, 1000], [true, 4003], [false, 1000], [false, 4003]] as const) {
    it.effect(`passes on data and ${code}, and answers pings, with autoClose: ${autoClose}`, () =>
      Effect.gen(function*() {
        const { client, relay, upstream } = yield* makeOverridden({ left: { autoPong: false, autoClose } })
        client.send(
          Frame.text("a", { fin: false }),
          Frame.ping(mark),
          Frame.continuation("b"),
          Frame.binary(Uint8Array.of(99))
        )
        client.send(Frame.close(code, "done"))
        yield* settleAll
        assert.deepStrictEqual(
          shown(dataOf(upstream.received)),
          shown([Frame.text("a", { fin: false }), Frame.continuation("b"), Frame.binary(Uint8Array.of(99))])
        )
        assert.deepStrictEqual(shown(client.received.slice(0, 1)), shown([Frame.pong(mark)]))
        assert.deepStrictEqual(closeOf(upstream), { code, reason: "done" })
        upstream.send(Frame.close(code))
        yield* settleAll
        assert.strictEqual(closeOf(client)?.code, code)
        client.transport.end()
        upstream.transport.end()
        const relayed = yield* Fiber.join(relay)
        assert.deepStrictEqual([relayed.endedBy, relayed.left.clean, relayed.right.clean], ["left", true, true])
      }))
  }

  it.effect("drops a pong that overridden frames return", () =>
    Effect.gen(function*() {
      const { client, left, right, upstream } = yield* makeEnds()
      const frames = Stream.concat(Stream.make(Frame.pong(mark), Frame.text("first")), left.frames)
      yield* startRelay(Connection.decorate(left, { frames }), right)
      client.send(Frame.text("second"))
      yield* settleAll
      assert.deepStrictEqual(shown(upstream.received), shown([Frame.text("first"), Frame.text("second")]))
      assert.deepStrictEqual(client.received, [])
    }))

  it.effect("passes on the end of a transport", () =>
    Effect.gen(function*() {
      const { client, relay, upstream } = yield* makeOverridden()
      upstream.send(Frame.text("last"))
      upstream.transport.end()
      yield* settleAll
      assert.deepStrictEqual(shown(client.received), shown([Frame.text("last")]))
      assert.isTrue(client.receivedEof)
      client.transport.end()
      const relayed = yield* Fiber.join(relay)
      assert.deepStrictEqual([relayed.endedBy, relayed.left.cause?._tag, relayed.right.cause?._tag], [
        "right",
        "Terminated",
        "UnexpectedEof"
      ])
    }))

  it.effect("discards what a peer sends after the other connection has ended", () =>
    Effect.gen(function*() {
      const { client, left, relay, upstream } = yield* makeOverridden()
      upstream.send(Frame.close(4002))
      yield* settleAll
      for (let i = 0; i < 10; i++) client.send(Frame.text(String(i)))
      yield* settleAll
      assert.strictEqual((yield* left.stats).unreadAmount, 0)
      client.send(Frame.close(4002))
      client.transport.end()
      upstream.transport.end()
      assert.strictEqual((yield* Fiber.join(relay)).left.code, 4002)
    }))

  for (
    const [where, frames, cause] of [
      [
        "within a message terminates the connection that has a part of it",
        [Frame.text("a", { fin: false })],
        "Terminated"
      ],
      ["between two messages leaves both connections open", [
        Frame.text("a", { fin: false }),
        Frame.continuation("b")
      ], undefined]
    ] as const
  ) {
    it.effect(`interrupted ${where}`, () =>
      Effect.gen(function*() {
        const { client, left, relay, right, upstream } = yield* makeOverridden()
        client.send(...frames)
        yield* settleAll
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(relay), { startImmediately: true })
        yield* settleAll
        assert.strictEqual(upstream.receivedEof, cause !== undefined)
        if (cause === undefined) yield* right.send("still open")
        upstream.transport.end()
        yield* Fiber.join(interrupting)
        assert.strictEqual((yield* right.closed).cause?._tag, cause ?? "UnexpectedEof")
        yield* left.send("still open")
      }))
  }
})

// -----------------------------------------------------------------------------
// Interruption
// -----------------------------------------------------------------------------

describe("a relay that is interrupted", () => {
  it.effect(
    "between two messages leaves both connections usable, and loses none, at any step",
    () =>
      Effect.gen(function*() {
        const points = yield* interruptAtEachStep(Effect.gen(function*() {
          const { client, left, right, upstream } = yield* makeEnds()
          const texts = Array.from({ length: 4 }, (_, i) => String(i))
          return {
            effect: Connection.relay(left, right),
            events: [
              () => client.send(Frame.text("0"), Frame.text("1")),
              () => upstream.send(Frame.text("0")),
              () => client.send(Frame.text("2")),
              () => upstream.send(Frame.text("1"), Frame.text("2"), Frame.text("3")),
              () => client.send(Frame.text("3"), Frame.close(4000)),
              () => upstream.send(Frame.close(4000)),
              () => [client, upstream].forEach(({ transport }) => transport.end())
            ],
            verify: () =>
              Effect.gen(function*() {
                yield* settleAll
                for (const [peer, connection] of [[upstream, left], [client, right]] as const) {
                  const relayed = dataOf(peer.received).map(({ payload }) => Buffer.from(payload).toString())
                  const unread: Array<string> = []
                  while ((yield* connection.stats).unreadAmount > 0) {
                    unread.push(String(contentOf(yield* connection.receive)))
                  }
                  assert.deepStrictEqual([...relayed, ...unread], texts)
                }
              })
          }
        }))
        assert.isAbove(points, 20)
      }),
    60_000
  )

  it.effect("within a message closes the connection that has a part of it, with 1011 and MessageAborted", () =>
    Effect.gen(function*() {
      const { client, left, relay, right, upstream } = yield* makeGateway()
      client.send(Frame.text("a", { fin: false }))
      yield* settleAll
      yield* Fiber.interrupt(relay)
      yield* settleAll
      assert.deepStrictEqual(closeOf(upstream), { code: 1011, reason: "MessageAborted" })
      assert.strictEqual((yield* right.closed).cause?._tag, "MessageAborted")
      client.send(Frame.continuation("b"), Frame.text("next"))
      assert.strictEqual(contentOf(yield* left.receive), "next")
    }))

  it.effect("while it waits for room loses nothing", () =>
    Effect.gen(function*() {
      const { client, left, relay, right, upstream } = yield* makeGateway()
      upstream.transport.pause()
      const count = 20
      for (let i = 0; i < count; i++) client.send(Frame.binary(patterned(4096, i)))
      yield* settleAll
      yield* Fiber.interrupt(relay)
      upstream.transport.resume()
      yield* settleAll
      const before = upstream.received.length
      assert.isBelow(before, count)
      yield* startRelay(left, right)
      yield* settleAll
      assert.deepStrictEqual(
        upstream.received.map(({ payload }) => payload[0]),
        Array.from({ length: count }, (_, i) => patterned(1, i)[0])
      )
    }))
})
