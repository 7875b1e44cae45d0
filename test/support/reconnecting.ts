/** A reconnecting client in memory: a network that fails on demand, and what tests watch of the client. */
import { Effect, Layer, Schedule, Scheduler, Scope, Stream, SubscriptionRef } from "effect"
import { Connection, HandshakeError, Reconnecting, Transport, WebSocketClient } from "effect-ws"
import { TestClock } from "effect/testing"
import { contentOf, settle, type Shape } from "./memory.ts"

export interface Server {
  readonly connection: Shape
  readonly transport: Transport.Transport
  readonly url: string
  readonly headers: unknown
}

export const refused = new HandshakeError.ConnectFailed({
  phase: "connect",
  addresses: [],
  url: "ws://there/",
  code: "ECONNREFUSED",
  cause: new Error("connect ECONNREFUSED")
})

export const rejected = (status: number, headers: Readonly<Record<string, string>> = {}) =>
  new HandshakeError.HandshakeRejected({ status, headers, rawHeaders: [], body: "" })

/**
 * A network in memory: each attempt fails with the next of the failures, or
 * connects to a server, whose connection is added to `servers`.
 */
export const network = (...failures: ReadonlyArray<HandshakeError.ConnectError | undefined>) =>
  Effect.map(Effect.scope, (scope) => {
    const servers: Array<Server> = []
    let attempts = 0
    const connect: WebSocketClient.WebSocketClient["connect"] = (url, options) =>
      Effect.gen(function*() {
        const failure = failures[attempts++]
        if (failure !== undefined) return yield* Effect.fail(failure)
        const [left, right] = yield* Transport.makePair()
        const connection = yield* Connection.make(right, { keepalive: false, role: "server" }).pipe(
          Scope.provide(scope),
          // If a test runs the client step by step, the server runs on.
          Effect.provideService(Scheduler.Scheduler, new Scheduler.MixedScheduler())
        )
        servers.push({ connection, transport: right, url: String(url), headers: options?.headers })
        return yield* Connection.make(left, { keepalive: false, ...options, role: "client" })
      }).pipe(Effect.uninterruptible)
    return { servers, attempts: () => attempts, layer: Layer.succeed(WebSocketClient.WebSocketClient, { connect }) }
  })

export const everySecond = Schedule.spaced("1 second")

/** Lets all fibers run, and a second pass. */
export const second = Effect.andThen(settle, Effect.andThen(TestClock.adjust("1 second"), settle))

/** Collects the messages in a fiber. */
export const collect = <E>(client: Reconnecting.Reconnecting<E>) =>
  Effect.gen(function*() {
    const messages: Array<unknown> = []
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(client.messages, (message) => Effect.sync(() => messages.push(contentOf(message))))
    )
    return { messages, fiber }
  })

export const receive = (server: Server) => Effect.map(server.connection.receive, contentOf)

export const stateOf = <E>(client: Reconnecting.Reconnecting<E>) => SubscriptionRef.getUnsafe(client.state)

/** Collects all states, from the first on. */
export const watchStates = <E>(client: Reconnecting.Reconnecting<E>) =>
  Effect.gen(function*() {
    const states: Array<string> = []
    yield* Effect.forkScoped(
      Stream.runForEach(SubscriptionRef.changes(client.state), (state) =>
        Effect.sync(() =>
          states.push(
            state._tag === "Waiting"
              ? `waiting for ${state.attempt}, ${(state.cause as { readonly _tag: string })._tag}`
              : state._tag === "Connecting"
              ? `connecting, ${state.attempt}`
              : state._tag
          )
        )),
      { startImmediately: true }
    )
    return states
  })
