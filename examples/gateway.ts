/**
 * A gateway: each client of this server is a client of the server behind it.
 *
 *   PORT=9003 UPSTREAM=ws://127.0.0.1:9001 node build/examples/gateway.js
 *
 * It connects upstream before it answers a client, with the path, the
 * subprotocols and some headers of the client's request. The client gets the
 * subprotocol that upstream has selected, or the status with which upstream
 * has rejected the request.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Context, Effect, Layer } from "effect"
import { CloseCode, Connection, Handshake, type HandshakeError, WebSocketClient, WebSocketServer } from "effect-ws"

/** The connection to upstream of a client. */
class Upstream extends Context.Service<Upstream, Connection.Connection>()("example/Upstream") {}

// The relay keeps no whole message: the limits on messages are those of the server behind it.
const limits: Connection.Options = {
  maxMessageSize: Number.POSITIVE_INFINITY,
  maxFragments: Number.POSITIVE_INFINITY
}

/** The headers of a request that the server behind the gateway gets. */
const forwardedHeaders = ({ headers, remoteAddress }: Handshake.Request): Record<string, string> => {
  const forwarded = [headers["x-forwarded-for"], remoteAddress].filter((address) => address !== undefined)
  const kept = ["authorization", "cookie", "origin", "user-agent"].flatMap((name) =>
    headers[name] === undefined ? [] : [[name, headers[name]] as const]
  )
  return { ...Object.fromEntries(kept), "x-forwarded-for": forwarded.join(", ") }
}

/** Tells a client why there is no connection upstream. */
const rejection = (error: HandshakeError.ConnectError): Handshake.Reject => {
  if (error._tag === "HandshakeRejected") return Handshake.reject({ status: error.status, body: error.body })
  return Handshake.reject({ status: error._tag === "HandshakeTimeout" ? 504 : 502 })
}

const decide = (upstream: string) => (request: Handshake.Request) =>
  WebSocketClient.connect(`${upstream}${request.path}${request.query.size > 0 ? `?${request.query}` : ""}`, {
    ...limits,
    protocols: request.protocols,
    headers: forwardedHeaders(request)
  }).pipe(
    Effect.map((connection) =>
      Handshake.accept({ protocol: connection.subprotocol, services: Context.make(Upstream, connection) })
    ),
    Effect.mapError(rejection)
  )

const handler = Effect.gen(function*() {
  const client = yield* Connection.Connection
  const upstream = yield* Upstream
  const relayed = yield* Connection.relay(client, upstream, {
    closeOther: ({ closeFrame, endedBy }) =>
      closeFrame ?? (endedBy === "right" ? { code: CloseCode.BadGateway, reason: "upstream is lost" } : undefined)
  })
  yield* relayed.endedBy === "left"
    ? Console.log(`client: ${relayed.left.message}`)
    : Console.log(`upstream: ${relayed.right.message}`)
})

const Gateway = Layer.unwrap(Effect.gen(function*() {
  const upstream = yield* Config.String("UPSTREAM").pipe(Config.withDefault("ws://127.0.0.1:9001"))
  // Upstream decides which pages may connect: it gets the Origin.
  return WebSocketServer.serve(handler, { ...limits, origin: "any", decide: decide(upstream) })
}))

const Announce = Layer.effectDiscard(
  Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Console.log(`LISTENING ${url}`))
)

const Server = WebSocketServer.layerConfig({
  port: Config.Int("PORT").pipe(Config.withDefault(9003)),
  host: Config.succeed("127.0.0.1")
})

NodeRuntime.runMain(Layer.launch(Layer.merge(Gateway, Announce).pipe(Layer.provide(Server))))
