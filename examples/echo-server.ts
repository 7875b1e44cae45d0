/**
 * Sends every message back.
 *
 *   PORT=9001 MODE=stream node build/examples/echo-server.js
 *
 * MODE says how: `stream` one message at a time, `batch` all that have come at
 * once, in one write, `frames` frame by frame, as they were fragmented. With
 * BCAST=1 each message goes to every other connection instead. With DEFLATE=1
 * clients may compress (permessage-deflate). With TLS=1 the server has a self-signed
 * certificate for localhost. With HTTP2=1 clients may also use HTTP/2: over TLS as they
 * choose, without TLS if they begin with it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { Connection, PerMessageDeflate, WebSocketServer } from "effect-ws"
import { cert, key } from "./localhostCertificate.ts"

const handlers = {
  stream: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.messages, connection.send)
  }),
  batch: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEachArray(connection.messages, connection.sendAll)
  }),
  frames: Effect.gen(function*() {
    const connection = yield* Connection.Connection
    yield* Stream.runForEach(connection.frames, connection.sendFrame)
  })
}

const everybody = new Set<Connection.Connection>()

const others = (self: Connection.Connection) => [...everybody].filter((other) => other !== self)

const join = Effect.gen(function*() {
  const self = yield* Connection.Connection
  yield* Effect.acquireRelease(
    Effect.sync(() => everybody.add(self)),
    () => Effect.sync(() => everybody.delete(self))
  )
  return self
})

const broadcasters = {
  stream: Effect.gen(function*() {
    const self = yield* join
    yield* Stream.runForEach(self.messages, (message) => Connection.broadcast(others(self), message))
  }),
  batch: Effect.gen(function*() {
    const self = yield* join
    yield* Stream.runForEachArray(self.messages, (messages) => Connection.broadcast(others(self), messages))
  })
}

const Echo = Layer.unwrap(Effect.gen(function*() {
  const mode = yield* Config.Literals(["stream", "batch", "frames"], "MODE").pipe(Config.withDefault("stream"))
  const broadcast = yield* Config.Boolean("BCAST").pipe(Config.withDefault(false))
  const handler = broadcast ? broadcasters[mode === "batch" ? mode : "stream"] : handlers[mode]
  const deflate = yield* Config.Boolean("DEFLATE").pipe(Config.withDefault(false))
  return WebSocketServer.serve(handler, {
    // This server uses no cookies, so any page may connect.
    origin: "any",
    extensions: deflate ? [PerMessageDeflate.make()] : []
  })
}))

const Announce = Layer.effectDiscard(Effect.gen(function*() {
  const { address } = yield* WebSocketServer.WebSocketServer
  yield* Console.log(`LISTENING ${address._tag === "Tcp" ? address.port : address.path}`)
}))

const flag = (name: string) => Config.Boolean(name).pipe(Config.withDefault(false))

const Server = Layer.unwrap(Effect.gen(function*() {
  const [http2, secure] = [yield* flag("HTTP2"), yield* flag("TLS")]
  return WebSocketServer.layer({
    port: yield* Config.Int("PORT").pipe(Config.withDefault(9001)),
    host: "127.0.0.1",
    backlog: 4096,
    ...secure ? { tls: { key, cert }, http2 } : { cleartextHttp2: http2 }
  })
}))

NodeRuntime.runMain(Layer.launch(Layer.merge(Echo, Announce).pipe(Layer.provide(Server))))
