/** The sessions of one `serve` or `upgrade`: limits, the list of connections, and shutdown. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type { Connection } from "../../Connection.ts"
import type { InvalidOption } from "../../HandshakeError.ts"
import type { ServeOptions } from "../../WebSocketServer.ts"
import { LinkedList } from "../runtime/linkedList.ts"
import { Timers } from "../runtime/timers.ts"
import { ConnectionMetrics } from "../telemetry/metrics.ts"
import { startServerHandshake, within } from "../telemetry/tracing.ts"
import { ConnectionLimiter } from "./connectionLimiter.ts"
import type { Decide } from "./decision.ts"
import { readServeOptions, type SessionSettings } from "./options.ts"
import { Session, type SessionHost } from "./session.ts"
import type { Upgrade } from "./upgrade.ts"

/** The services of a handler and of `decide` that a session does not provide: the context of a request has them. */
export type HandlerServices<R, Services, RD> =
  | Exclude<RD, Scope.Scope>
  | Exclude<R, Connection | Scope.Scope | Services>

/** Callbacks for the first session of an idle group, and for the end of the last one. */
export interface SessionsListener {
  readonly onBegin: () => void
  readonly onIdle: () => void
}

const noListener: SessionsListener = { onBegin: constVoid, onIdle: constVoid }

/** Makes the sessions that run a handler. Fails if an option is invalid. */
export const makeSessions = <A, E, R, Services, RD>(
  handler: Effect.Effect<A, E, R>,
  options: ServeOptions<Services, RD>,
  path: string | undefined,
  handshakeTimeout: Duration.Input,
  listener: SessionsListener = noListener
): Effect.Effect<Sessions<HandlerServices<R, Services, RD>>, InvalidOption> =>
  Effect.suspend(() =>
    Effect.fromResult(Result.map(
      readServeOptions(options, path, handshakeTimeout),
      (settings) =>
        new Sessions(
          // The context that a session runs these in has their services: `HandlerServices`, those of the decision, the
          // Connection and the Scope. Types are checked where `serve` and `upgrade` are called.
          handler as Effect.Effect<unknown, unknown>,
          options.decide as Decide | undefined,
          settings,
          listener
        )
    ))
  )

export class Sessions<in Services> implements SessionHost {
  readonly handler: Effect.Effect<unknown, unknown>
  readonly decide: Decide | undefined
  readonly settings: SessionSettings
  private readonly listener: SessionsListener
  private readonly all = new LinkedList<Session>()
  private readonly limiter = new ConnectionLimiter()

  constructor(
    handler: Effect.Effect<unknown, unknown>,
    decide: Decide | undefined,
    settings: SessionSettings,
    listener: SessionsListener
  ) {
    this.handler = handler
    this.decide = decide
    this.settings = settings
    this.listener = listener
  }

  /** The connections that are open. */
  get connections(): Array<Connection> {
    return Array.from(this.all).flatMap(({ connection }) =>
      connection === undefined || connection.closing.closed !== undefined ? [] : [connection]
    )
  }

  /** Starts the session of a request to a server of our own. The head took `elapsed` milliseconds to arrive. */
  serve(context: Context.Context<Services>, upgrade: Upgrade, elapsed: number): void {
    if (!this.acquire(context, upgrade, this.limiter)) return
    const span = startServerHandshake(context, upgrade.head, () => ({
      // Without the query, which may contain secrets.
      "url.path": upgrade.head.target.replace(/[?#].*/, ""),
      "client.address": upgrade.head.remoteAddress,
      "network.protocol.version": upgrade.head.httpVersion
    }))
    this.start(within(context, span), upgrade, this.limiter, Scope.makeUnsafe(), elapsed, span)
  }

  /**
   * Starts the session of a request to a route. The application has its own span, and
   * counts the connections of the route with `limiter`. The session closes `scope` last.
   * Returns undefined if the request is above a limit.
   */
  serveRoute(
    context: Context.Context<Services>,
    upgrade: Upgrade,
    limiter: ConnectionLimiter,
    scope: Scope.Closeable
  ): Session | undefined {
    if (!this.acquire(context, upgrade, limiter)) return undefined
    return this.start(context, upgrade, limiter, scope, 0, undefined)
  }

  /** Closes all connections, rejects requests without a decision, and waits for handlers and responses up to `shutdownTimeout`. */
  get stop(): Effect.Effect<void> {
    const { all, settings } = this
    const responses = Effect.suspend(() =>
      Effect.forEach(all, ({ upgrade }) => upgrade.flushed, { concurrency: "unbounded" })
    )
    return Effect.gen({ self: this }, function*() {
      for (const session of all) session.shutdown(settings.shutdownClose)
      yield* Effect.timeoutOption(
        Effect.andThen(this.awaitIdle(), responses),
        Duration.millis(settings.shutdownTimeout)
      )
      for (const { fiber, upgrade } of all) {
        upgrade.destroy()
        fiber?.interruptUnsafe()
      }
      yield* this.awaitIdle()
      for (const session of all) this.remove(session)
    })
  }

  remove(session: Session): void {
    const { all, listener } = this
    if (all.delete(session)) session.limiter.release(session.upgrade.head.remoteAddress)
    if (all.size === 0) listener.onIdle()
  }

  private acquire(context: Context.Context<never>, upgrade: Upgrade, limiter: ConnectionLimiter): boolean {
    if (limiter.tryAcquire(upgrade.head.remoteAddress, this.settings.limits)) return true
    ConnectionMetrics.of(context, "server").handshake("503")
    upgrade.rejectUnavailable(Timers.of(context), this.settings.closeTimeout)
    return false
  }

  private start(
    context: Context.Context<never>,
    upgrade: Upgrade,
    limiter: ConnectionLimiter,
    scope: Scope.Closeable,
    elapsed: number,
    span: Tracer.Span | undefined
  ): Session {
    const deadline = Timers.of(context).now() + Math.max(0, this.settings.handshakeTimeout - elapsed)
    const session = new Session(this, context, upgrade, limiter, scope, deadline, span)
    if (this.all.size === 0) this.listener.onBegin()
    this.all.add(session)
    session.start()
    return session
  }

  /** Suspends while a session runs a fiber: its decision, its handler, or the release of what it acquired. */
  private awaitIdle(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const running = Array.from(this.all).flatMap(({ fiber }) => fiber?.pollUnsafe() === undefined ? fiber ?? [] : [])
      return running.length === 0 ? Effect.void : Effect.andThen(Fiber.awaitAll(running), this.awaitIdle())
    })
  }
}
