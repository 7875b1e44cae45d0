import { Context, Effect, Layer, Schema, Scope, Stream } from "effect"
import { Connection, PerMessageDeflate, TypedConnection, WebSocketServer } from "effect-ws"
import type { Service, Serving } from "../scenarios.ts"

const echoes = {
  stream: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.messages, connection.send)
  }),
  batch: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEachArray(connection.messages, connection.sendAll)
  })
}

/** The schema of `json`. */
const Update = Schema.Struct({
  type: Schema.Literal("update"),
  seq: Schema.Finite,
  items: Schema.Array(Schema.Struct({
    id: Schema.Finite,
    user: Schema.String,
    price: Schema.Finite,
    side: Schema.Literals(["buy", "sell"]),
    at: Schema.Finite
  }))
})

const toTyped = (connection: Connection.Connection) =>
  TypedConnection.make(connection, { receives: Update, sends: Update })

const typedEchoes = {
  stream: Effect.gen(function*() {
    const connection = toTyped(yield* Connection.Connection)
    yield* Stream.runForEach(connection.messages, (value) => connection.send(value))
  }),
  batch: Effect.gen(function*() {
    const connection = toTyped(yield* Connection.Connection)
    yield* Stream.runForEachArray(connection.messages, (values) => connection.sendAll(values))
  })
}

const everybody = new Set<Connection.Connection>()

const others = function*(self: Connection.Connection) {
  for (const connection of everybody) if (connection !== self) yield connection
}

const broadcaster = Effect.gen(function*() {
  const self = yield* Connection.Connection
  yield* Effect.acquireRelease(
    Effect.sync(() => everybody.add(self)),
    () => Effect.sync(() => everybody.delete(self))
  )
  yield* Stream.runForEachArray(self.messages, (messages) => Connection.broadcast(others(self), messages))
})

const handlers = {
  echo: echoes,
  typed: typedEchoes,
  compiled: typedEchoes,
  broadcast: { stream: broadcaster, batch: broadcaster }
} satisfies Record<Service, unknown>

export const listen = async ({ deflate, mode, service }: Serving): Promise<number> => {
  if (service === "compiled") await import("effect/schema/SchemaJITCompiler/enable")
  const server = WebSocketServer.layer({ port: 0, host: "127.0.0.1", backlog: 4096 })
  const extensions = deflate === undefined ? [] : [PerMessageDeflate.make()]
  const serving = Layer.provideMerge(WebSocketServer.serve(handlers[service][mode], { extensions }), server)
  return Effect.runPromise(Effect.gen(function*() {
    const context = yield* Layer.buildWithScope(serving, yield* Scope.make())
    const { address } = Context.get(context, WebSocketServer.WebSocketServer)
    return address._tag === "Tcp" ? address.port : 0
  }))
}
