import { NodeSocketServer } from "@effect/platform-node"
import { Context, Effect, Layer, Scope } from "effect"
import { SocketServer } from "effect/socket"
import type { Socket } from "effect/socket/Socket"

const echo = (socket: Socket) =>
  Effect.gen(function*() {
    const { writeAll } = yield* socket.writer
    const { pull } = yield* socket.reader
    while (true) yield* writeAll(yield* pull)
  }).pipe(Effect.scoped, Effect.ignoreCause)

export const listen = (): Promise<number> =>
  Effect.runPromise(Effect.gen(function*() {
    const layer = NodeSocketServer.layerWebSocket({ port: 0, host: "127.0.0.1", backlog: 4096 })
    const context = yield* Layer.buildWithScope(layer, yield* Scope.make())
    const { address, run } = Context.get(context, SocketServer.SocketServer)
    Effect.runFork(run(echo))
    return "port" in address ? address.port : 0
  }))
