/** A topic server on a port, with connections that a test can cut. */
import { Deferred, Effect, Exit, Layer, Scope } from "effect"
import { Broker, Connection, TopicError, Topics, TopicServer, WebSocketServer } from "effect-ws"
import * as TopicProtobuf from "effect-ws/TopicProtobuf"
import { topics } from "./topicDrivers.ts"

/** Waits until a condition holds. */
export const until = async (condition: () => boolean, what: string | (() => unknown)): Promise<void> => {
  for (let i = 0; !condition(); i++) {
    if (i === 1000) throw new Error(`expected ${typeof what === "string" ? what : JSON.stringify(what())}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Tokens that end with "!" expire; "expired" has expired; "bad" is not one. */
const connect = (request: TopicServer.ConnectRequest) =>
  request.token === "bad"
    ? Effect.fail(new TopicError.Rejected({ code: TopicError.Code.Unauthorized }))
    : request.token === "gone"
    ? Effect.fail(new TopicError.Disconnect({ code: TopicError.DisconnectCode.InvalidToken }))
    : request.token === "expired"
    ? Effect.fail(new TopicError.Rejected({ code: TopicError.Code.TokenExpired }))
    : Effect.succeed({
      user: request.token.replaceAll(/[!?]/g, ""),
      info: { via: "test" },
      ...request.token.endsWith("!") ? { expiresIn: "1 second" as const } : {}
    })

const subscribe = (request: TopicServer.SubscribeRequest) =>
  request.params["name"] === "private" && request.token !== "key"
    ? Effect.fail(new TopicError.Rejected({ code: TopicError.Code.PermissionDenied }))
    : Effect.succeed({ member: { name: request.client.user } })

const publish = (request: TopicServer.PublishRequest) =>
  request.message === "forbidden"
    ? Effect.fail(new TopicError.Rejected({ code: TopicError.Code.PermissionDenied }))
    : Effect.void

export interface Serving {
  readonly url: string
  /** Ends all connections as a lost network does. */
  readonly cut: () => Promise<void>
  readonly connections: ReadonlySet<Connection.Connection>
  readonly clients: ReadonlyArray<TopicServer.Client>
  /** What `message` was given. */
  readonly sent: ReadonlyArray<unknown>
  readonly run: <A, E>(effect: Effect.Effect<A, E, Topics.Topics>) => Promise<A>
  readonly stop: () => Promise<void>
}

export const serve = async (limits: TopicServer.Limits = {}): Promise<Serving> => {
  const connections = new Set<Connection.Connection>()
  const clients: Array<TopicServer.Client> = []
  const sent: Array<unknown> = []
  const handler = TopicServer.handler({
    topics,
    formats: [TopicProtobuf.format],
    connect,
    subscribe: (request) => {
      if (!clients.includes(request.client)) clients.push(request.client)
      return subscribe(request)
    },
    publish,
    rpc: ({ client, data, method }) =>
      method === "who"
        ? Effect.succeed(client.user)
        : method === "echo"
        ? Effect.succeed(data as null)
        : Effect.fail(new TopicError.Rejected({ code: TopicError.Code.MethodNotFound })),
    message: ({ client, data }) => {
      sent.push(data)
      return Effect.ignore(client.send(["got", data as null]))
    },
    ...limits
  })
  const tracked = Effect.flatMap(Connection.Connection, (connection) =>
    Effect.andThen(
      Effect.sync(() => connections.add(connection)),
      Effect.ensuring(handler, Effect.sync(() => connections.delete(connection)))
    ))
  const scope = Scope.makeUnsafe()
  const started = Deferred.makeUnsafe<string>()
  const Main = Layer.effectDiscard(
    Effect.flatMap(WebSocketServer.WebSocketServer, ({ url }) => Deferred.succeed(started, url))
  ).pipe(
    Layer.provideMerge(WebSocketServer.serve(tracked, { protocols: [TopicProtobuf.format.protocol] })),
    Layer.provideMerge(WebSocketServer.layer()),
    Layer.provideMerge(Topics.layer({ topics, linger: 0 })),
    Layer.provide(Broker.layerMemory())
  )
  const context = await Effect.runPromise(Layer.buildWithScope(Main, scope))
  return {
    url: await Effect.runPromise(Deferred.await(started)),
    cut: () => Effect.runPromise(Effect.forEach([...connections], ({ terminate }) => terminate, { discard: true })),
    connections,
    clients,
    sent,
    run: (effect) => Effect.runPromise(Effect.provideContext(effect, context)),
    stop: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}
