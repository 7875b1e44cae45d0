import { Context, Effect, Layer, Scope, Stream } from "effect"
import { Connection, WebSocketServer } from "effect-ws"
import type { Mode } from "../scenarios.ts"

const handlers = {
  stream: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.messages, connection.send)
  }),
  batch: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEachArray(connection.messages, connection.sendAll)
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

export const listen = (mode: Mode, broadcast: boolean): Promise<number> => {
  const server = WebSocketServer.layer({ port: 0, host: "127.0.0.1", backlog: 4096 })
  const echo = Layer.provideMerge(WebSocketServer.serve(broadcast ? broadcaster : handlers[mode]), server)
  return Effect.runPromise(Effect.gen(function*() {
    const context = yield* Layer.buildWithScope(echo, yield* Scope.make())
    const { address } = Context.get(context, WebSocketServer.WebSocketServer)
    return address._tag === "Tcp" ? address.port : 0
  }))
}
