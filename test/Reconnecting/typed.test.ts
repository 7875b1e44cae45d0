/** A typed view of a reconnecting client. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import {
  ConnectionError,
  Message,
  type MessageConnection,
  Reconnecting,
  TypedConnection,
  WebSocketClient
} from "effect-ws"
import { contentOf, makePair, settle } from "../support/memory.ts"
import { everySecond, network, receive, second } from "../support/reconnecting.ts"

const Numbered = Schema.Struct({ n: Schema.Int })
const protocol = { receives: Numbered, sends: Numbered }
const numbered = (n: number) => `{"n":${n}}`

const make = Effect.gen(function*() {
  const { layer, servers } = yield* network()
  const client = yield* WebSocketClient.reconnecting("ws://there/", { schedule: everySecond }).pipe(
    Effect.provide(layer)
  )
  yield* settle
  return { client, servers }
})

describe("TypedConnection.makeReconnecting", () => {
  it.effect("sends and receives values over all connections", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      const typed = TypedConnection.makeReconnecting(client, protocol)
      // That it compiles is a part of the test: invalid messages are not among the errors.
      const values: Stream.Stream<{ readonly n: number }, Reconnecting.Failure> = typed.messages
      yield* typed.send({ n: 1 })
      yield* typed.sendAll([{ n: 2 }, { n: 3 }])
      for (const n of [1, 2, 3]) assert.strictEqual(yield* receive(servers[0]), numbered(n))
      yield* servers[0].connection.sendAll([numbered(4), numbered(5)])
      yield* settle
      assert.deepStrictEqual(yield* typed.receive, { n: 4 })
      servers[0].transport.destroy()
      yield* second
      yield* servers[1].connection.send(numbered(6))
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(values, 2)), [{ n: 5 }, { n: 6 }])
      yield* servers[1].connection.close()
      yield* typed.closed
      assert.strictEqual((yield* Effect.flip(typed.receive))._tag, "NotConnected")
      assert.strictEqual((yield* Effect.flip(typed.send({ n: 7 })))._tag, "NotConnected")
      assert.strictEqual(typed.client, client)
    }))

  it.effect("makes a typed client of any connection in one expression", () =>
    Effect.gen(function*() {
      const { client, server } = yield* makePair()
      const connection: MessageConnection.MessageConnection = client
      const typed = yield* Reconnecting.make(() => Effect.succeed(connection), {
        onOpen: (opened) => TypedConnection.make(opened, protocol).send({ n: 0 })
      }).pipe(Effect.map(TypedConnection.makeReconnecting(protocol)))
      yield* typed.send({ n: 1 })
      assert.deepStrictEqual([contentOf(yield* server.receive), contentOf(yield* server.receive)], [
        numbered(0),
        numbered(1)
      ])
    }))

  it.effect("sends nothing if a value cannot be encoded", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      const typed = TypedConnection.makeReconnecting(client, protocol)
      for (const sending of [typed.send({ n: 1.5 }), typed.sendAll([{ n: 1 }, { n: 1.5 }])]) {
        assert.instanceOf(yield* Effect.flip(sending), ConnectionError.InvalidValue)
      }
      assert.strictEqual((yield* servers[0].connection.stats).messagesIn, 0)
    }))

  it.effect("fails the connection of an invalid message, and goes on with the next, by default", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      const typed = TypedConnection.makeReconnecting(client, protocol)
      for (const [i, invalid] of ["{", numbered(0.5)].entries()) {
        yield* servers[i].connection.send(invalid)
        const receiving = yield* Effect.forkChild(i === 0 ? typed.receive : Stream.runHead(typed.messages))
        yield* second
        assert.strictEqual((yield* servers[i].connection.closed).code, 1007)
        yield* servers[i + 1].connection.send(numbered(i))
        yield* settle
        assert.isDefined(receiving.pollUnsafe())
        yield* Fiber.join(receiving)
      }
    }))

  it.effect("fails with InvalidMessage and keeps the connection, with onInvalid: \"fail\"", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      const typed = TypedConnection.makeReconnecting(client, { ...protocol, onInvalid: "fail" })
      yield* servers[0].connection.sendAll(["{", numbered(1), "{", numbered(2)])
      yield* settle
      assert.instanceOf(yield* Effect.flip(typed.receive), ConnectionError.InvalidMessage)
      assert.deepStrictEqual(yield* typed.receive, { n: 1 })
      assert.instanceOf(yield* Effect.flip(Stream.runDrain(typed.messages)), ConnectionError.InvalidMessage)
      assert.deepStrictEqual(yield* typed.receive, { n: 2 })
      assert.strictEqual(servers.length, 1)
    }))

  it.effect("uses the encoding for both directions", () =>
    Effect.gen(function*() {
      const { client, servers } = yield* make
      const encoding = TypedConnection.binary({
        encode: (value) => Uint8Array.of((value as { readonly n: number }).n),
        decode: ([n]) => ({ n })
      })
      const typed = TypedConnection.makeReconnecting(client, { ...protocol, encoding })
      yield* typed.send({ n: 7 })
      assert.deepStrictEqual(yield* receive(servers[0]), [7])
      yield* servers[0].connection.send(Uint8Array.of(8))
      assert.deepStrictEqual(yield* typed.receive, { n: 8 })
    }))
})

describe("TypedConnection.decoder", () => {
  it.effect("decodes messages, or fails with InvalidMessage", () =>
    Effect.gen(function*() {
      const decode = TypedConnection.decoder(Numbered)
      const text = (content: string) => Message.text(new TextEncoder().encode(content))
      assert.deepStrictEqual(yield* decode(text(numbered(1))), { n: 1 })
      assert.deepInclude(yield* Effect.flip(decode(text("{"))), { _tag: "InvalidMessage", reason: "Encoding" })
      assert.deepInclude(yield* Effect.flip(decode(text(numbered(0.5)))), { _tag: "InvalidMessage", reason: "Value" })
    }))

  it.effect("decodes what encoder has encoded, with the same encoding", () =>
    Effect.gen(function*() {
      const encoding = TypedConnection.text({
        encode: (value) => `!${JSON.stringify(value)}`,
        decode: (text) => JSON.parse(text.slice(1))
      })
      const encoded = yield* TypedConnection.encoder(Numbered, encoding)({ n: 1 })
      assert.strictEqual(encoded, "!{\"n\":1}")
      const message = Message.text(new TextEncoder().encode(encoded as string))
      assert.deepStrictEqual(yield* TypedConnection.decoder(Numbered, encoding)(message), { n: 1 })
    }))
})
