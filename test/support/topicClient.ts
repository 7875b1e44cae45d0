/** Clients of topics in memory, on a test clock: against a topic server, or against a server that a test plays. */
import { Effect, Scope, Stream } from "effect"
import { Connection, type Topic } from "effect-ws"
import { makePair, settle, type Shape } from "./memory.ts"
import { refused } from "./reconnecting.ts"

export interface MemoryServer {
  readonly connect: () => Effect.Effect<Shape, typeof refused, Scope.Scope>
  /** The server's ends of all connections so far. */
  readonly servers: ReadonlyArray<Shape>
  /** While it is false, the server refuses connections. */
  isUp: boolean
}

/** A server in memory, to which clients connect again and again. */
export const memoryServer = <R>(handler: Effect.Effect<void, never, R>) =>
  Effect.gen(function*() {
    const servers: Array<Shape> = []
    const scope = yield* Effect.scope
    const context = yield* Effect.context<Exclude<R, Connection.Connection>>()
    const server: MemoryServer = {
      isUp: true,
      servers,
      connect: () =>
        Effect.gen(function*() {
          if (!server.isUp) return yield* refused
          const { client, server: accepted } = yield* makePair()
          servers.push(accepted)
          const handling = Effect.provideContext(
            Effect.provideService(handler, Connection.Connection, accepted),
            context
          )
          yield* Effect.forkIn(Effect.andThen(handling, accepted.close()), scope)
          return client
        })
    }
    return server
  })

export type Command = Readonly<Record<string, unknown>>

/** A server that a test plays: it replies to commands with what a function returns. */
export const played = (
  reply: (command: Command) => object | undefined,
  seen: Array<Command> = []
) =>
  memoryServer(
    Effect.gen(function*() {
      const connection = yield* Connection.Connection
      yield* Stream.runForEach(connection.messages, (message) =>
        Effect.gen(function*() {
          if (message._tag !== "Text") return
          for (const line of message.text.split("\n")) {
            const command = JSON.parse(line) as Command
            seen.push(command)
            const answer = reply(command)
            if (answer !== undefined) yield* connection.send(JSON.stringify({ id: command["id"], ...answer }))
          }
        }))
    }).pipe(Effect.catchTag("ConnectionClosed", () => Effect.void))
  )

/** Cuts the newest connection. */
export const cut = ({ servers }: MemoryServer) => Effect.andThen(servers.at(-1)!.terminate, settle)

/** Collects the events of a stream in the background. */
export const follow = <M, P, E, R>(stream: Stream.Stream<Topic.Event<M, P>, E, R>) =>
  Effect.gen(function*() {
    const events: Array<Topic.Event<M, P>> = []
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(stream, (event) => Effect.sync(() => void events.push(event)))
    )
    yield* settle
    return { events, fiber }
  })

/** Events in short: "Subscribed 3 ada", "Message 4 hi", "Gap 4-9", "Joined bob". */
export const short = (event: Topic.Event<{ readonly text: string }, { readonly name: string }>): string => {
  switch (event._tag) {
    case "Subscribed":
      return ["Subscribed", event.position.offset, ...event.members.map(({ member }) => member.name).toSorted()].join(
        " "
      )
    case "Message":
      return `Message ${event.position.offset} ${event.message.text}`
    case "Gap":
      return `Gap ${event.from.offset}-${event.to.offset}`
    default:
      return `${event._tag} ${event.member.name}`
  }
}
