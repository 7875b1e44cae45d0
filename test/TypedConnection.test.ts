import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema, SchemaGetter, SchemaIssue, Stream } from "effect"
import { type Connection, Frame, PerMessageDeflate, Transport, TypedConnection } from "effect-ws"
import { ConnectionClosed, InvalidMessage, InvalidValue } from "effect-ws/ConnectionError"
import * as Connections from "effect-ws/Connection"
import { SchemaBinary } from "effect/encoding"
import { contentOf, makePair, makeRaw, settle } from "./support/memory.ts"
import { interruptAtEachStep } from "./support/interruptAtEachStep.ts"

const Numbered = Schema.Struct({ n: Schema.Int, at: Schema.optional(Schema.Date) })
type Numbered = typeof Numbered.Type

const both = { receives: Numbered, sends: Numbered }
const forgiving = { ...both, onInvalid: "fail" } as const
const numbered = (n: number) => Frame.text(JSON.stringify({ n }))
const nonsense = Frame.text("{")

/** A typed end, and a raw peer. */
const makeTyped = Effect.map(makeRaw({ role: "server" }), ({ connection, peer }) => ({
  connection,
  peer,
  typed: TypedConnection.make(connection, both),
  lenient: TypedConnection.make(connection, forgiving)
}))

describe("TypedConnection", () => {
  it.effect("carries values in both directions as JSON, including Dates", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const here = TypedConnection.make(client, both)
      const there = TypedConnection.make(server, both)
      const value: Numbered = { n: 1, at: new Date(5000) }
      yield* here.send(value)
      assert.deepStrictEqual(yield* there.receive, value)
      yield* there.sendAll([value, { n: 2 }, { n: 3 }])
      assert.strictEqual(contentOf(yield* client.receive), `{"n":1,"at":"1970-01-01T00:00:05.000Z"}`)
      assert.deepStrictEqual(yield* here.messages.pipe(Stream.take(2), Stream.runCollect), [{ n: 2 }, { n: 3 }])
      assert.strictEqual(here.connection, client)
      yield* Effect.forkChild(there.connection.close())
      assert.deepStrictEqual(yield* Stream.runCollect(here.messages), [])
      assert.instanceOf(yield* Effect.flip(here.receive), ConnectionClosed)
      assert.instanceOf(yield* Effect.flip(here.send(value)), ConnectionClosed)
    }))

  it.effect("uses other encodings, for text and for bytes", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const reversed = (text: string) => [...text].toReversed().join("")
      const encodings = [
        TypedConnection.text({
          encode: (value) => reversed(JSON.stringify(value)),
          decode: (text) => JSON.parse(reversed(text))
        }),
        TypedConnection.binary({
          encode: (value) => Buffer.from(JSON.stringify(value)),
          decode: (bytes) => JSON.parse(Buffer.from(bytes).toString())
        })
      ]
      const schema = Schema.Struct({ n: Schema.FiniteFromString })
      for (const encoding of encodings) {
        yield* TypedConnection.make(client, { receives: schema, sends: schema, encoding }).send({ n: 7 })
        const there = TypedConnection.make(server, { receives: schema, sends: schema, encoding })
        assert.deepStrictEqual(yield* there.receive, { n: 7 })
      }
      const compact = SchemaBinary.toCodec(schema)
      const encoding = TypedConnection.binary({
        encode: (value) => (value as Uint8Array).slice(),
        decode: (bytes) => bytes
      })
      const options = { receives: compact, sends: compact, encoding }
      yield* TypedConnection.make(client, options).sendAll([{ n: 1 }, { n: 2 }])
      const there = TypedConnection.make(server, options)
      assert.deepStrictEqual([yield* there.receive, yield* there.receive], [{ n: 1 }, { n: 2 }])
    }))

  it.effect("decodes compressed messages", () =>
    Effect.gen(function*() {
      const deflate = PerMessageDeflate.make({ threshold: 0 })
      const [left, right] = yield* Transport.makePair()
      const { accept, confirm, offer } = yield* Effect.promise(() => import("effect-ws/Extension"))
      const accepted = accept([deflate], offer([deflate]))
      const confirmed = yield* Effect.fromResult(confirm([deflate], accepted.map(({ entry }) => entry)))
      const client = yield* Connections.make(left, { role: "client", keepalive: false, negotiated: confirmed })
      const server = yield* Connections.make(right, { role: "server", keepalive: false, negotiated: accepted })
      const values = Array.from({ length: 200 }, (_, n) => ({ n }))
      yield* TypedConnection.make(client, both).sendAll(values)
      const there = TypedConnection.make(server, both)
      assert.deepStrictEqual(yield* there.messages.pipe(Stream.take(200), Stream.runCollect), values)
    }))

  it.effect("limits a batch of messages by inboundHighWaterMark", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeRaw({ role: "server", inboundHighWaterMark: 300 })
      peer.send(...Array.from({ length: 20 }, (_, n) => numbered(n)))
      yield* settle
      const batches: Array<number> = []
      yield* TypedConnection.make(connection, both).messages.pipe(
        Stream.mapArray((batch) => {
          batches.push(batch.length)
          return batch
        }),
        Stream.take(20),
        Stream.runDrain
      )
      assert.deepStrictEqual(batches, [5, 5, 5, 5])
    }))

  it.effect("sends nothing if a value cannot be encoded", () =>
    Effect.gen(function*() {
      const { connection, peer, typed } = yield* makeTyped
      const wrong = yield* Effect.flip(typed.send({ n: 1.5 }))
      assert.instanceOf(wrong, InvalidValue)
      assert.match(wrong.message, /^the value cannot be sent: Expected .* at \["n"\]$/)
      assert.instanceOf(yield* Effect.flip(typed.sendAll([{ n: 1 }, { n: 1.5 }])), InvalidValue)
      const encoding = TypedConnection.text({
        encode: () => {
          // oxlint-disable-next-line no-throw-literal
          throw "no"
        },
        decode: () => ({})
      })
      const thrown = yield* Effect.flip(TypedConnection.make(connection, { ...both, encoding }).send({ n: 1 }))
      assert.strictEqual(thrown.message, "the value cannot be sent: no")
      const wrongType = TypedConnection.text({ encode: () => 42 as unknown as string, decode: () => ({}) })
      const unsendable = yield* Effect.flip(
        TypedConnection.make(connection, { ...both, encoding: wrongType }).send({ n: 1 })
      )
      assert.instanceOf(unsendable, InvalidValue)
      assert.deepInclude(unsendable, { value: { n: 1 } })
      assert.match(unsendable.message, /^the value cannot be sent: message: expected .*, got the number 42/)
      // A schema may allow what JSON has nothing for.
      const any = TypedConnection.make(connection, { receives: Schema.Any, sends: Schema.Any })
      for (const value of [undefined, Symbol("none"), () => 1]) {
        assert.instanceOf(yield* Effect.flip(any.sendAll([1, value])), InvalidValue)
      }
      yield* settle
      assert.strictEqual(peer.received.length, 0)
    }))

  it("throws a TypeError for a value that is not a connection", () => {
    assert.throws(() => TypedConnection.make({} as Connection.Connection, both), TypeError)
  })
})

describe("encoder", () => {
  it.effect("encodes a message for a broadcast once, as a typed connection does", () =>
    Effect.gen(function*() {
      const pairs = yield* Effect.all([makePair(), makePair()])
      let encoded = 0
      const counting = TypedConnection.text({
        encode: (value) => {
          encoded++
          return JSON.stringify(value)
        },
        decode: (text) => JSON.parse(text)
      })
      const schema = Schema.Struct({ n: Schema.FiniteFromString })
      const encode = TypedConnection.encoder(schema, counting)
      yield* Connections.broadcast(pairs.map(({ server }) => server), yield* encode({ n: 1 }))
      for (const { client } of pairs) {
        const typed = TypedConnection.make(client, { receives: schema, sends: schema, encoding: counting })
        assert.deepStrictEqual(yield* typed.receive, { n: 1 })
      }
      assert.strictEqual(encoded, 1)
      const date = yield* TypedConnection.encoder(Numbered)({ n: 1, at: new Date(5000) })
      assert.strictEqual(date, `{"n":1,"at":"1970-01-01T00:00:05.000Z"}`)
      assert.instanceOf(yield* Effect.flip(TypedConnection.encoder(Numbered)({ n: 0.5 })), InvalidValue)
    }))
})

describe("an invalid message", () => {
  const cases: ReadonlyArray<readonly [string, Frame.Frame, InvalidMessage["reason"], number, string]> = [
    ["binary instead of text", Frame.binary(Uint8Array.of(1)), "Type", 1003, "Expected a text message, got binary"],
    ["text that is not JSON", nonsense, "Encoding", 1007, "Expected valid JSON"],
    ["a value that the schema does not allow", Frame.text(`{"n":"1"}`), "Value", 1007, `Expected number at ["n"]`]
  ]
  for (const [what, frame, reason, code, problem] of cases) {
    it.effect(`closes the connection with ${code}: ${what}`, () =>
      Effect.gen(function*() {
        for (const how of ["receive", "messages"] as const) {
          const { peer, typed } = yield* makeTyped
          peer.send(numbered(1), numbered(2), frame, numbered(3))
          yield* settle
          assert.strictEqual((yield* typed.receive).n, 1)
          const got: Array<number> = []
          const error = yield* Effect.flip(
            how === "receive"
              ? Effect.forever(Effect.map(typed.receive, ({ n }) => void got.push(n)))
              : Stream.runForEach(typed.messages, ({ n }) => Effect.sync(() => void got.push(n)))
          )
          yield* settle
          assert.deepStrictEqual(got, [2])
          assert.instanceOf(error, ConnectionClosed)
          const { cause } = error
          assert.instanceOf(cause, InvalidMessage)
          assert.strictEqual(cause.reason, reason)
          assert.deepStrictEqual(Buffer.from(cause.received.bytes), Buffer.from(frame.payload))
          assert.strictEqual(cause.message, `the peer sent an invalid message: ${problem}`)
          assert.include(error.message, cause.message)
          const close = peer.received.at(-1)!
          assert.deepStrictEqual(Frame.readClose(close.payload), { code, reason: problem })
          assert.strictEqual(yield* typed.connection.closed, error)
          assert.strictEqual(yield* Effect.flip(typed.receive), error)
        }
      }))

    it.effect(`fails the receive that removed it, and leaves the connection open: ${what}`, () =>
      Effect.gen(function*() {
        const { lenient, peer } = yield* makeTyped
        peer.send(numbered(1), frame, numbered(2), frame, numbered(3))
        yield* settle
        assert.strictEqual((yield* lenient.receive).n, 1)
        const error = yield* Effect.flip(lenient.receive)
        assert.instanceOf(error, InvalidMessage)
        assert.strictEqual(error.reason, reason)
        const got: Array<number> = []
        const run = Stream.runForEach(lenient.messages, ({ n }) => Effect.sync(() => void got.push(n)))
        assert.instanceOf(yield* Effect.flip(run), InvalidMessage)
        assert.deepStrictEqual(got, [2])
        assert.strictEqual((yield* lenient.receive).n, 3)
      }))
  }

  /** A string that the program cannot decode, for this reason. */
  const failingWith = (annotations: Schema.Annotations.Issue) =>
    Schema.String.pipe(Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transformEffect((input) =>
        Effect.fail(new SchemaIssue.InvalidValue(annotations, input, { reportInput: true }))
      ),
      encode: SchemaGetter.passthrough()
    }))

  const long = "k".repeat(200)
  const told: ReadonlyArray<readonly [string, Schema.ConstraintDecoder<unknown>, unknown, string]> = [
    [
      "the place of an invalid value",
      Schema.Struct({ a: Schema.Array(Schema.Struct({ b: Schema.String })) }),
      { a: [{ b: 1 }] },
      `Expected string at ["a"][0]["b"]`
    ],
    ["the missing key", Schema.Struct({ a: Schema.String }), {}, `Missing key at ["a"]`],
    [
      "the expected pattern",
      Schema.String.check(Schema.isPattern(/^a+$/)),
      "SECRET",
      "Expected a string matching the RegExp ^a+$"
    ],
    ["the expectation of a URL", Schema.URLFromString, "SECRET", "Expected a valid URL string"],
    [
      "the expectation of a check of the program",
      Schema.String.check(Schema.makeFilter(() => false, { expected: "a name" })),
      "SECRET",
      "Expected a name"
    ],
    [
      "no value that a check of the program quotes",
      Schema.String.check(Schema.makeFilter((s) => `bad ${s}`)),
      "SECRET",
      "Expected another value"
    ],
    [
      "the message of a check of the program",
      Schema.String.check(Schema.makeFilter(() => false, { message: "needs a name", expected: "a name" })),
      "SECRET",
      "needs a name"
    ],
    [
      "the expectation of a transformation of the program",
      failingWith({ expected: "a name" }),
      "SECRET",
      "Expected a name"
    ],
    [
      "no value that a transformation of the program quotes",
      failingWith({ message: "bad SECRET" }),
      "SECRET",
      "Expected another value"
    ],
    [
      "no value that a union quotes",
      Schema.Union([Schema.Literal("x"), Schema.Finite]),
      "SECRET",
      `Expected "x" | number`
    ],
    [
      "cut to 123 bytes",
      Schema.Record(Schema.String, Schema.Finite),
      { [long]: "SECRET" },
      `Expected number at ["${"k".repeat(102)}`
    ],
    [
      "cut between two characters",
      Schema.Record(Schema.String, Schema.Finite),
      { ["é".repeat(100)]: "SECRET" },
      `Expected number at ["${"é".repeat(51)}`
    ],
    [
      "cut between two surrogate pairs",
      Schema.Record(Schema.String, Schema.Finite),
      { ["x" + "😀".repeat(50)]: "SECRET" },
      `Expected number at ["x${"😀".repeat(25)}`
    ]
  ]
  for (const [what, schema, value, reason] of told) {
    it.effect(`the close reason is ${what}`, () =>
      Effect.gen(function*() {
        const { connection, peer } = yield* makeTyped
        const typed = TypedConnection.make(connection, {
          receives: schema,
          sends: Schema.String
        })
        peer.send(Frame.text(JSON.stringify(value)))
        yield* Effect.flip(typed.receive)
        yield* settle
        assert.deepStrictEqual(Frame.readClose(peer.received.at(-1)!.payload), { code: 1007, reason })
      }))
  }

  it.effect("the close reason tells nothing of what the encoding of the program throws", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeTyped
      const thrown = new Error("bad SECRET")
      const encoding = TypedConnection.text({
        encode: String,
        decode: () => {
          throw thrown
        }
      })
      const typed = TypedConnection.make(connection, { ...both, encoding })
      peer.send(Frame.text("SECRET"))
      const { cause } = yield* Effect.flip(typed.receive)
      assert.instanceOf(cause, InvalidMessage)
      assert.deepStrictEqual([cause.reason, cause.cause], ["Encoding", thrown])
      yield* settle
      const reason = "Expected another encoding"
      assert.deepStrictEqual(Frame.readClose(peer.received.at(-1)!.payload), { code: 1007, reason })
    }))

  it.effect("the close reason names a key that is a symbol", () =>
    Effect.gen(function*() {
      const { connection, peer } = yield* makeTyped
      const key = Symbol("id")
      const typed = TypedConnection.make(connection, {
        receives: Schema.Struct({ [key]: Schema.String }),
        sends: Schema.String,
        encoding: TypedConnection.binary({ encode: () => new Uint8Array(), decode: ([id]) => ({ [key]: id }) })
      })
      peer.send(Frame.binary(Uint8Array.of(1)))
      yield* Effect.flip(typed.receive)
      yield* settle
      const reason = "Expected string at [Symbol(id)]"
      assert.deepStrictEqual(Frame.readClose(peer.received.at(-1)!.payload), { code: 1007, reason })
    }))

  it.effect("an invalid message that is read after a normal closure is the cause of the error", () =>
    Effect.gen(function*() {
      const { connection, peer, typed } = yield* makeTyped
      peer.send(numbered(1), nonsense, Frame.close(1000, ""))
      yield* settle
      const error = yield* Effect.flip(Stream.runDrain(typed.messages))
      assert.instanceOf(error.cause, InvalidMessage)
      assert.isTrue((yield* connection.closed).normal)
    }))

  it.effect("two fibers that receive get one result each", () =>
    Effect.gen(function*() {
      const { lenient, peer } = yield* makeTyped
      const first = yield* Effect.forkChild(Effect.exit(lenient.receive), { startImmediately: true })
      const second = yield* Effect.forkChild(Effect.exit(lenient.receive), { startImmediately: true })
      peer.send(nonsense, numbered(2))
      assert.isTrue(Exit.isFailure(yield* Fiber.join(first)))
      assert.deepStrictEqual(yield* Fiber.join(second), Exit.succeed({ n: 2 }))
    }))
})

describe("interrupted at each step", () => {
  /** Receives the next value, and records it in the same step. */
  const taking = (typed: TypedConnection.TypedConnection<Numbered, Numbered, InvalidMessage>, got: Array<unknown>) =>
    typed.receive.pipe(
      Effect.map(({ n }) => void got.push(n)),
      Effect.catchTag("InvalidMessage", ({ reason }) => {
        got.push(reason)
        return Effect.void
      })
    )

  it.effect("an interrupted receive removes a value, an invalid message, or nothing", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, lenient, peer } = yield* makeTyped
        const got: Array<unknown> = []
        const take = taking(lenient, got)
        return {
          effect: Effect.gen(function*() {
            for (let i = 0; i < 4; i++) yield* take
          }),
          events: [
            () => peer.send(numbered(1)),
            () => peer.send(nonsense, numbered(2)),
            () => peer.send(nonsense)
          ],
          verify: () =>
            Effect.gen(function*() {
              while (got.length < 4) yield* take
              assert.deepStrictEqual(got, [1, "Encoding", 2, "Encoding"])
              yield* connection.send("still usable")
            })
        }
      }))
      assert.isAbove(points, 10)
    }))

  it.effect("an interrupted receive leaves all messages to another fiber", () =>
    Effect.gen(function*() {
      yield* interruptAtEachStep(Effect.gen(function*() {
        const { lenient, peer } = yield* makeTyped
        const got: Array<unknown> = []
        const take = taking(lenient, got)
        const other = yield* Effect.forkChild(take, { startImmediately: true })
        return {
          effect: take,
          events: [() => peer.send(nonsense), () => peer.send(numbered(1))],
          verify: () =>
            Effect.gen(function*() {
              yield* Fiber.join(other)
              if (got.length < 2) yield* take
              assert.deepStrictEqual(got.toSorted(), [1, "Encoding"])
            })
        }
      }))
    }))
})
