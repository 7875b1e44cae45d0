/** A topic server in memory, on a test clock, and raw clients that send it any text. */
import { Effect, Layer, Schema } from "effect"
import { Broker, Connection, type Message, Topic, Topics, TopicServer } from "effect-ws"
import { makePair, settle } from "./memory.ts"

export const Room = Topic.make("room::name", {
  message: Schema.Struct({ text: Schema.String }),
  member: Schema.Struct({ name: Schema.String }),
  history: { size: 5, ttl: "1 minute" }
})
export const Feed = Topic.make("feed::name", { message: Schema.Struct({ text: Schema.String }) })
export const lobby = { name: "lobby" }

export const layer = Layer.provideMerge(Topics.layer({ linger: 0 }), Broker.layerMemory())

export type Reply = Readonly<Record<string, unknown>>

export interface RawClient {
  readonly connection: Connection.Connection
  /** The replies and pushes so far. A ping is {}. */
  readonly received: Array<Reply>
  /** Sends values in one message, one a line. */
  readonly send: (...commands: ReadonlyArray<object>) => Effect.Effect<void>
  readonly sendRaw: (message: Message.Input) => Effect.Effect<void>
  /** Sends the connect command. */
  readonly connect: (request?: object) => Effect.Effect<void>
  /** Sends a command, and returns the reply. */
  readonly ask: (command: object) => Effect.Effect<Reply>
  /** The code and the reason with which the server has closed the connection, if it has. */
  readonly ended: () => string | undefined
  /** Whether the handler has ended. */
  readonly done: () => boolean
}

/** Runs a handler, and connects a client to it. */
export const rawClient = <R>(handler: Effect.Effect<void, never, Connection.Connection | R>) =>
  Effect.gen(function*() {
    const { client, server } = yield* makePair()
    const fiber = yield* Effect.forkScoped(
      Effect.andThen(Effect.provideService(handler, Connection.Connection, server), server.close())
    )
    const received: Array<Reply> = []
    let end: string | undefined
    yield* Effect.forkScoped(
      Effect.gen(function*() {
        for (;;) {
          const message = yield* client.receive
          if (message._tag === "Text") {
            for (const line of message.text.split("\n")) received.push(JSON.parse(line) as Reply)
          }
        }
      }).pipe(Effect.catchTag("ConnectionClosed", ({ code, reason }) =>
        Effect.sync(() => {
          end = reason === "" ? String(code) : `${code} ${reason}`
        })))
    )
    let id = 1
    const sendRaw = (message: Message.Input) => Effect.andThen(Effect.ignore(client.send(message)), settle)
    const send = (...commands: ReadonlyArray<object>) =>
      sendRaw(commands.map((command) => JSON.stringify(command)).join("\n"))
    const ask = (command: object) =>
      Effect.suspend(() => {
        const own = ++id
        return Effect.flatMap(
          send({ id: own, ...command }),
          () => Effect.sync(() => received.find((reply) => reply["id"] === own) ?? {})
        )
      })
    const raw: RawClient = {
      connection: client,
      received,
      send,
      sendRaw,
      connect: (request = {}) => send({ id: 1, connect: request }),
      ask,
      ended: () => end,
      done: () => fiber.pollUnsafe() !== undefined
    }
    return raw
  })

/** A client that is connected. */
export const connected = <R>(handler: Effect.Effect<void, never, Connection.Connection | R>, request?: object) =>
  Effect.tap(rawClient(handler), (client) => client.connect(request))

/** A server that allows everything, with these options. */
export const open = <R1 = never, R2 = never, R3 = never, R4 = never, R5 = never, R6 = never>(
  options: Partial<TopicServer.Options<R1, R2, R3, R4, R5, R6>> = {}
) =>
  TopicServer.handler<R1, R2, R3, R4, R5, R6>({
    topics: [Room, Feed],
    connect: ({ token }) => Effect.succeed({ user: token }),
    subscribe: ({ client }) => Effect.succeed({ member: { name: client.user } }),
    publish: () => Effect.void,
    ...options
  } as TopicServer.Options<R1, R2, R3, R4, R5, R6>)

export const pushes = ({ received }: RawClient): ReadonlyArray<Reply> =>
  received.flatMap(({ push }) => push === undefined ? [] : [push as Reply])

export { settle }
