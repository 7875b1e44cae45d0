/** Messages of the RPC protocol, as a client of any kind sends and receives them. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Layer, Schema, Scope, Stream } from "effect"
import { Rpc, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { type Connection, type Message, WebSocketClient, WebSocketServer } from "effect-ws"
import * as RpcServerProtocol from "effect-ws/RpcServerProtocol"

const Calls = RpcGroup.make(
  Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }),
  Rpc.make("Count", { success: Schema.Number, stream: true }),
  Rpc.make("Break", { success: Schema.Number, stream: true }),
  Rpc.make("Unencodable", { success: Schema.Number })
)

const chunkSize = 10

const Handlers = Calls.toLayer({
  Double: ({ n }) => Effect.succeed(2 * n),
  Count: () => Stream.rechunk(Stream.range(1, 1e9), chunkSize),
  Break: () => Stream.concat(Stream.make(1), Stream.die(new Error("broken"))),
  Unencodable: () => Effect.succeed("no number" as unknown as number)
})

interface Setup extends RpcServerProtocol.Options {
  readonly serialization?: Layer.Layer<RpcSerialization.RpcSerialization>
}

const connectTo = ({ serialization = RpcSerialization.layerJson, ...options }: Setup = {}) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      RpcServer.layer(Calls).pipe(
        Layer.provide([Handlers, RpcServerProtocol.layer(options)]),
        Layer.provideMerge(WebSocketServer.layer({ host: "127.0.0.1" })),
        Layer.provide(serialization)
      )
    )
    return yield* WebSocketClient.connect(Context.get(context, WebSocketServer.WebSocketServer).url)
  })

const request = (id: number | string, tag: string, payload: unknown = null) => ({
  _tag: "Request",
  id,
  tag,
  payload,
  headers: []
})

const send = (connection: Connection.Connection, message: unknown) => connection.send(JSON.stringify(message))

interface Response {
  readonly _tag: string
  readonly requestId?: number | string
  readonly values?: ReadonlyArray<number>
}

const contentOf = (message: Message.Message): Response =>
  JSON.parse(message._tag === "Text" ? message.text : new TextDecoder().decode(message.bytes)) as Response

const receive = (connection: Connection.Connection) => Effect.map(connection.receive, contentOf)

/** Everything up to the response to a call that is made now. */
const receiveAll = (connection: Connection.Connection, id: string) =>
  Effect.gen(function*() {
    yield* send(connection, request(id, "Double", { n: 1 }))
    const all: Array<Response> = []
    while (true) {
      const response = yield* receive(connection)
      if (response._tag === "Exit" && response.requestId === id) return all
      all.push(response)
    }
  })

/** The sizes of chunks, and that their values follow `first`. */
const valuesOf = (chunks: ReadonlyArray<Response>) => chunks.flatMap(({ values }) => values ?? [])
const range = (from: number, length: number) => Array.from({ length }, (_, i) => from + i)

/** The chunks that a stream has sent once it waits: the same after each of some calls. */
const receiveUntilItWaits = (connection: Connection.Connection) =>
  Effect.gen(function*() {
    const all: Array<Response> = []
    for (let call = 0, empty = 0; empty < 3; call++) {
      const more = yield* receiveAll(connection, `call ${call}`)
      empty = more.length === 0 && all.length > 0 ? empty + 1 : 0
      all.push(...more)
    }
    return all
  })

describe("streamWindow", () => {
  it.live("a stream sends until its unacknowledged chunks reach streamWindow", () =>
    Effect.gen(function*() {
      const streamWindow = 500
      const connection = yield* connectTo({ streamWindow })
      yield* send(connection, request(1, "Count"))
      const chunks = yield* receiveUntilItWaits(connection)
      const sizes = chunks.map((chunk) => JSON.stringify(chunk).length)
      const total = sizes.reduce((sum, size) => sum + size, 0)
      assert.isAtLeast(total, streamWindow)
      assert.isBelow(total - sizes.at(-1)!, streamWindow)
      assert.deepStrictEqual(valuesOf(chunks), range(1, chunks.length * chunkSize))
      yield* send(connection, { _tag: "Ack", requestId: 1 })
      assert.lengthOf(yield* receiveUntilItWaits(connection), 1)
    }))

  it.live("a stream waits for the acknowledgement of each chunk with a streamWindow of 0", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo({ streamWindow: 0 })
      yield* send(connection, request(1, "Count"))
      for (let chunk = 0; chunk < 3; chunk++) {
        const chunks = yield* receiveUntilItWaits(connection)
        assert.deepStrictEqual(valuesOf(chunks), range(1 + chunk * chunkSize, chunkSize))
        yield* send(connection, { _tag: "Ack", requestId: 1 })
      }
    }))

  it.live("acknowledgements of a stream that does not exist change nothing", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo({ streamWindow: 0 })
      yield* send(connection, request(1, "Count"))
      assert.lengthOf(yield* receiveUntilItWaits(connection), 1)
      yield* connection.sendAll(Array.from({ length: 5 }, () => JSON.stringify({ _tag: "Ack", requestId: 2 })))
      assert.deepStrictEqual(yield* receiveAll(connection, "call"), [])
      yield* send(connection, { _tag: "Ack", requestId: 1 })
      assert.lengthOf(yield* receiveUntilItWaits(connection), 1)
    }))

  it.live("a stream does not take the window of another", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo({ streamWindow: 0 })
      for (const id of [1, 2]) {
        yield* send(connection, request(id, "Count"))
        assert.deepStrictEqual((yield* receiveUntilItWaits(connection)).map(({ requestId }) => requestId), [id])
      }
      yield* send(connection, { _tag: "Ack", requestId: 2 })
      assert.deepStrictEqual((yield* receiveUntilItWaits(connection)).map(({ requestId }) => requestId), [2])
    }))

  it.live("a stream with the id of an interrupted one has a window of its own", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo({ streamWindow: 0 })
      for (let round = 0; round < 3; round++) {
        yield* send(connection, request(1, "Count"))
        assert.deepStrictEqual(valuesOf(yield* receiveUntilItWaits(connection)), range(1, chunkSize))
        yield* send(connection, { _tag: "Interrupt", requestId: 1 })
        let response = yield* receive(connection)
        while (response._tag !== "Exit") response = yield* receive(connection)
        assert.strictEqual(response.requestId, 1)
      }
    }))

  it.live("a stream with the id of one that died has a window of its own", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo({ streamWindow: 1 })
      yield* send(connection, request(1, "Break"))
      assert.strictEqual((yield* receive(connection))._tag, "Chunk")
      yield* send(connection, { _tag: "Ack", requestId: 1 })
      assert.strictEqual((yield* receive(connection))._tag, "Defect")
      yield* send(connection, request(1, "Count"))
      assert.lengthOf(yield* receiveUntilItWaits(connection), 1)
    }))
})

describe("RpcServerProtocol", () => {
  it.live("answers each request of an array", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo()
      yield* send(connection, [request(1, "Double", { n: 1 }), request(2, "Double", { n: 2 }), { _tag: "Ping" }])
      const responses = [yield* receive(connection), yield* receive(connection), yield* receive(connection)]
      assert.deepStrictEqual(responses.map(({ _tag, requestId }) => [_tag, requestId]), [
        ["Exit", 1],
        ["Exit", 2],
        ["Pong", undefined]
      ])
    }))

  it.live("answers a request in a binary message", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo()
      yield* connection.send(new TextEncoder().encode(JSON.stringify(request(1, "Double", { n: 1 }))))
      assert.deepInclude(yield* receive(connection), { _tag: "Exit", requestId: 1 })
    }))

  for (
    const message of [
      "no JSON",
      "null",
      "7",
      "[null]",
      "{}",
      "{\"_tag\":\"Request\",\"id\":{},\"tag\":\"Double\",\"payload\":{\"n\":1},\"headers\":[]}",
      "{\"_tag\":\"Request\",\"id\":1,\"tag\":\"Double\",\"payload\":{\"n\":1},\"headers\":[7]}"
    ]
  ) {
    it.live(`answers ${message} with a Defect, and the connection stays open`, () =>
      Effect.gen(function*() {
        const connection = yield* connectTo()
        yield* connection.send(message)
        assert.strictEqual((yield* receive(connection))._tag, "Defect")
        assert.deepStrictEqual(yield* receiveAll(connection, "call"), [])
      }))
  }

  it.live("closes the connection with 1009 for a message that is too large for the serialization", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo({ serialization: RpcSerialization.layerNdjsonWith({ maxBufferSize: 100 }) })
      yield* connection.send("x".repeat(200))
      assert.strictEqual((yield* connection.closed).code, 1009)
    }))

  it.live("fails a call with a result that cannot be encoded", () =>
    Effect.gen(function*() {
      const connection = yield* connectTo()
      yield* send(connection, request(1, "Unencodable"))
      assert.deepInclude(yield* receive(connection), { _tag: "Exit", requestId: 1 })
      assert.deepStrictEqual(yield* receiveAll(connection, "call"), [])
    }))
})

describe("connections of RpcServerProtocol", () => {
  it.live("connections wait, unread, until an RPC server runs, and after it has stopped", () =>
    Effect.gen(function*() {
      const { handler, protocol } = yield* RpcServerProtocol.make()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      yield* server.serve(handler)
      const connection = yield* WebSocketClient.connect(server.url)
      yield* send(connection, request(1, "Double", { n: 1 }))
      for (let round = 1; round <= 2; round++) {
        const running = yield* Scope.make()
        yield* RpcServer.make(Calls).pipe(
          Effect.provideService(RpcServer.Protocol, protocol),
          Effect.provide(Handlers),
          Effect.forkIn(running)
        )
        assert.deepInclude(yield* receive(connection), { _tag: "Exit", requestId: round })
        yield* Scope.close(running, Exit.void)
        yield* send(connection, request(round + 1, "Double", { n: 1 }))
      }
    }).pipe(Effect.provide(RpcSerialization.layerJson)))

  it.live("connections are the clients of the protocol as long as they are open", () =>
    Effect.gen(function*() {
      const { handler, protocol } = yield* RpcServerProtocol.make()
      const server = yield* WebSocketServer.make({ host: "127.0.0.1" })
      const opened = yield* Deferred.make<void>()
      yield* server.serve(Effect.andThen(Deferred.succeed(opened, undefined), handler))
      const scope = yield* Scope.make()
      yield* Scope.provide(WebSocketClient.connect(server.url), scope)
      const count = Effect.map(protocol.clientIds, ({ size }) => size)
      yield* Deferred.await(opened)
      yield* Effect.repeat(Effect.delay(count, 1), { until: (size) => size === 1 })
      yield* Scope.close(scope, Exit.void)
      yield* Effect.repeat(Effect.delay(count, 1), { until: (size) => size === 0 })
    }).pipe(Effect.provide(RpcSerialization.layerJson)))
})
