/** Serves one client: reads its commands in order, and hands each to its function. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { Connection } from "../../Connection.ts"
import type { Message } from "../../Message.ts"
import { Code, Disconnect, DisconnectCode, isTemporary, reasonOf, Rejected } from "../../TopicError.ts"
import type { Client } from "../../TopicServer.ts"
import { Topics } from "../../Topics.ts"
import { Timers } from "../runtime/timers.ts"
import { hubOf } from "../topics/hub.ts"
import { outletOf } from "../topics/connectionOutlet.ts"
import type { Codec, Malformed } from "./codec.ts"
import * as commands from "./commands.ts"
import { connect, refresh } from "./connecting.ts"
import { jsonCodec } from "./jsonCodec.ts"
import { Command } from "./schema.ts"
import { type Environment, Session } from "./session.ts"
import type { Settings } from "./serverOptions.ts"

export const serveClient = <R>(settings: Settings<R>): Effect.Effect<void, never, Connection | Topics | R> =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* Connection
    const codec = codecOf(settings, connection.subprotocol)
    if (codec === undefined) {
      return yield* Effect.ignore(
        connection.close(DisconnectCode.InappropriateProtocol, reasonOf(DisconnectCode.InappropriateProtocol))
      )
    }
    const session = yield* open(settings, connection, codec)
    const calls = yield* Semaphore.make(settings.maxCalls)
    yield* Stream.runForEach(connection.messages, (message) => receive(session, calls, message)).pipe(
      Effect.catchTag("ConnectionClosed", () => Effect.void)
    )
  }))

/** Without a subprotocol, clients speak JSON. */
const codecOf = <R>({ codecs }: Settings<R>, subprotocol: string | undefined): Codec | undefined =>
  subprotocol === undefined || subprotocol === jsonCodec.subprotocol
    ? jsonCodec
    : codecs.find((codec) => codec.subprotocol === subprotocol)

const open = Effect.fnUntraced(function*<R>(settings: Settings<R>, connection: Connection, codec: Codec) {
  const hub = hubOf(yield* Topics)
  const timers = Timers.of(yield* Effect.context<never>())
  const run = yield* FiberSet.makeRuntime<never, unknown, unknown>()
  const environment: Environment<R> = {
    settings,
    connection,
    codec,
    hub,
    outlet: outletOf(connection),
    scope: yield* Effect.scope,
    timers,
    spawn: (effect) => void run(Effect.ignore(effect))
  }
  const session = new Session(environment)
  yield* Effect.addFinalizer(() => Effect.sync(() => session.stopTimers()))
  session.deadline = timers.schedule(settings.connectTimeout, () => {
    session.end(new Disconnect({ code: DisconnectCode.Stale }))
  })
  // A command may still wait for an effect of the program when the connection has ended.
  environment.spawn(Effect.andThen(connection.closed, session.leave))
  return session
})

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

/** How a command is handled, in the order in which the protocol takes the first request of a command. */
const handlers = {
  ping: () => Effect.fail(new Rejected({ code: Code.NotAvailable })),
  subscribe: commands.subscribe,
  unsubscribe: commands.unsubscribe,
  publish: commands.publish,
  presence: commands.presence,
  presence_stats: commands.presenceStats,
  history: commands.history,
  rpc: commands.rpc,
  send: commands.send,
  refresh,
  sub_refresh: commands.subRefresh
} as const

type Kind = keyof typeof handlers

const kinds = Object.keys(handlers) as ReadonlyArray<Kind>

const receive = <R>(
  session: Session<R>,
  calls: Semaphore.Semaphore,
  message: Message
): Effect.Effect<void, never, R> => {
  if (session.phase === "ended") return Effect.void
  const { codec, settings } = session.environment
  const decoded = codec.decode(Command, message, settings.bounds)
  if (Result.isFailure(decoded)) return Effect.sync(() => endMalformed(session, decoded.failure))
  session.busy = true
  return Effect.ensuring(
    Effect.forEach(decoded.success, (command) => handle(session, calls, command), { discard: true }),
    Effect.sync(() => {
      session.busy = false
    })
  )
}

const endMalformed = <R>(session: Session<R>, { reason }: Malformed): void => {
  if (reason === "TooLarge") session.endTooLarge()
  else endBadRequest(session)
}

const endBadRequest = <R>(session: Session<R>): void => session.end(new Disconnect({ code: DisconnectCode.BadRequest }))

const handle = <R>(
  session: Session<R>,
  calls: Semaphore.Semaphore,
  command: Command
): Effect.Effect<void, never, R> =>
  Effect.suspend(() => {
    const { client, phase } = session
    if (phase === "ended" || (phase === "left" && command.publish === undefined && command.send === undefined)) {
      return Effect.void
    }
    if (phase === "new" && command.connect !== undefined) return handleConnect(session, command)
    if (client === undefined || command.connect !== undefined) return Effect.sync(() => endBadRequest(session))
    const kind = kinds.find((name) => command[name] !== undefined)
    if (kind === undefined) return Effect.sync(() => handlePong(session, command))
    if ((command.id ?? 0) === 0 && kind !== "send") return Effect.sync(() => endBadRequest(session))
    const allowed = session.rate.take()
    if (allowed !== "allow") return handleExcess(session, command, allowed)
    const handled = (handlers[kind] as (session: Session<R>, client: Client, request: unknown) => commands.Handled<R>)(
      session,
      client,
      command[kind]
    )
    const answered = respond(session, command.id, handled)
    return kind === "rpc" ? runCall(session, calls, answered) : answered
  })

/** A command without a request answers a ping, if there was one. */
const handlePong = <R>(session: Session<R>, { id = 0 }: Command): void => {
  if (id !== 0 || !session.heartbeat.pong()) endBadRequest(session)
}

const handleConnect = <R>(session: Session<R>, { connect: request = {}, id = 0 }: Command) => {
  const data = session.environment.codec.payload(request.data)
  if (id === 0 || Result.isFailure(data)) return Effect.sync(() => endBadRequest(session))
  return respond(session, id, connect(session, request, data.success))
}

const handleExcess = <R>(session: Session<R>, { id = 0 }: Command, allowed: "reject" | "end") => {
  if (allowed === "reject" && id !== 0) {
    return respond(session, id, Effect.fail(new Rejected({ code: Code.TooManyRequests })))
  }
  return Effect.sync(() => session.end(new Disconnect({ code: DisconnectCode.TooManyRequests })))
}

/** Runs a call beside further commands. */
const runCall = <R>(
  session: Session<R>,
  calls: Semaphore.Semaphore,
  call: Effect.Effect<void, never, R>
): Effect.Effect<void, never, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.map(restore(calls.take(1)), () => {
        session.environment.spawn(
          Effect.ensuring(Effect.provideContext(call, context), calls.release(1))
        )
      })
    )
  )

/** Sends the reply, if the client is still there: further publications of it are handled in any case. */
const respond = <R>(
  session: Session<R>,
  id: number | undefined,
  handled: commands.Handled<R>
): Effect.Effect<void, never, R> =>
  handled.pipe(
    Effect.flatMap(({ after, reply }) => {
      if (reply === undefined) return Effect.void
      const sent = session.send({ id, ...reply })
      return after === undefined ? sent : Effect.andThen(sent, Effect.sync(after))
    }),
    Effect.catchTags({
      Rejected: (error) => session.send({ id, error: toError(error) }),
      Disconnect: (error) => Effect.sync(() => session.end(error))
    }),
    Effect.catchTag("ConnectionClosed", () => Effect.void)
  )

const toError = (error: Rejected) => ({
  code: error.code,
  message: error.reason ?? reasonOf(error.code),
  temporary: isTemporary(error) || undefined
})
