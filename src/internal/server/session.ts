/**
 * One session: an upgrade request, from its head to the end of its handler.
 *
 * A session runs at most one fiber at a time: the decision, then the start of the
 * extensions, then the handler; or, without a handler, the release of what the
 * decision acquired. A decision that does not suspend needs no fiber.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { constTrue, constVoid } from "effect/Function"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import { Connection } from "../../Connection.ts"
import type * as Handshake from "../../Handshake.ts"
import type { Transport } from "../../Transport.ts"
import { type ConnectionImpl, makeUnsafe } from "../connection/connection.ts"
import { type Extensions, start as startExtensions } from "../connection/extensionPipeline.ts"
import { watchInactivity } from "../connection/inactivity.ts"
import type { Node } from "../runtime/linkedList.ts"
import { type Timer, Timers } from "../runtime/timers.ts"
import { ConnectionMetrics } from "../telemetry/metrics.ts"
import { endSpan, within } from "../telemetry/tracing.ts"
import type { ConnectionLimiter } from "./connectionLimiter.ts"
import {
  type AcceptedHandshake,
  type Decide,
  type DecisionExit,
  readUpgrade,
  runDecision,
  toAnswer
} from "./decision.ts"
import { RereadHandshake } from "./handshakeInfo.ts"
import { logFinalizerDefect, logHandlerFailure } from "./logging.ts"
import type { SessionSettings } from "./options.ts"
import { rejection, serviceUnavailable } from "./responses.ts"
import type { Upgrade } from "./upgrade.ts"

/** What the sessions of one `serve` or `upgrade` share. */
export interface SessionHost {
  readonly settings: SessionSettings
  readonly decide: Decide | undefined
  readonly handler: Effect.Effect<unknown, unknown>
  /** Called once the session has ended and its stream is closed. */
  readonly remove: (session: Session) => void
}

export class Session implements Node<Session> {
  readonly upgrade: Upgrade
  /** Counts the session, by the address in the request's head. */
  readonly limiter: ConnectionLimiter
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  connection: ConnectionImpl | undefined
  previous: Session | undefined
  next: Session | undefined
  private readonly host: SessionHost
  private readonly context: Context.Context<never>
  /**
   * What the request acquires, from the decision on. Later layers are released first:
   * the handler's, then the connection, the extensions, and what `decide` acquired.
   */
  private readonly scope: Scope.Closeable
  /** When the handshake times out, in milliseconds of the Clock. */
  private readonly deadline: number
  /** The span of the handshake, which is the current span of the context. */
  private readonly span: Tracer.Span | undefined
  /** The response that replaces the decision. */
  private override: Handshake.HttpResponse | undefined

  constructor(
    host: SessionHost,
    context: Context.Context<never>,
    upgrade: Upgrade,
    limiter: ConnectionLimiter,
    scope: Scope.Closeable,
    deadline: number,
    span: Tracer.Span | undefined
  ) {
    this.host = host
    this.context = context
    this.upgrade = upgrade
    this.limiter = limiter
    this.scope = scope
    this.deadline = deadline
    this.span = span
    this.fiber = undefined
    this.connection = undefined
    this.previous = undefined
    this.next = undefined
    this.override = undefined
  }

  // ---------------------------------------------------------------------------
  // The decision
  // ---------------------------------------------------------------------------

  start(): void {
    const { context, host, scope, upgrade } = this
    if (upgrade.hasClientLeft) return this.onClientLeft(Exit.interrupt())
    const request = readUpgrade(upgrade.head, host.settings)
    if (Result.isFailure(request)) return this.reject(request.failure, Exit.void)
    const decision = runDecision(host.decide, context, request.success, scope)
    if (Exit.isExit(decision)) this.onDecision(request.success, decision)
    else this.awaitDecision(request.success, decision)
  }

  /** Interrupts the decision, and succeeds when that is done. Does nothing once there is a connection. */
  get interruptDecision(): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.connection === undefined && this.fiber !== undefined ? Fiber.interrupt(this.fiber) : Effect.void
    )
  }

  /** Closes the connection; without one, rejects the request with 503. */
  shutdown(close: SessionSettings["shutdownClose"]): void {
    if (this.connection === undefined) this.overrideDecision(serviceUnavailable())
    else this.connection.closing.close(close)
  }

  private awaitDecision(request: Handshake.Request, fiber: Fiber.Fiber<Handshake.Decision, Handshake.Reject>): void {
    this.fiber = fiber
    const interrupt = () => fiber.interruptUnsafe()
    const stopWatchingClient = this.upgrade.watchClient(interrupt)
    const stopTimeout = watchInactivity(this.timers, this.timeLeft, {
      isInactive: constTrue,
      onTimeout: () => this.overrideDecision(rejection(503)),
      onActivity: constVoid
    })
    // The decision may have shut down the server before it suspended.
    if (this.override !== undefined) interrupt()
    fiber.addObserver((exit) => {
      stopTimeout()
      stopWatchingClient()
      this.onDecision(request, exit)
    })
  }

  private overrideDecision(response: Handshake.HttpResponse): void {
    this.override ??= response
    this.fiber?.interruptUnsafe()
  }

  private onDecision(request: Handshake.Request, exit: DecisionExit): void {
    if (this.upgrade.hasClientLeft) return this.onClientLeft(exit)
    if (this.override !== undefined) return this.reject(this.override, exit)
    if (Exit.hasInterrupts(exit)) return this.abandon(exit)
    const answer = toAnswer(this.host.settings, this.context, request, exit)
    if (Result.isFailure(answer)) this.reject(answer.failure, exit)
    else this.accept(answer.success)
  }

  // ---------------------------------------------------------------------------
  // The response
  // ---------------------------------------------------------------------------

  private onClientLeft(exit: Exit.Exit<unknown, unknown>): void {
    this.upgrade.destroy()
    this.abandon(exit)
  }

  private abandon(exit: Exit.Exit<unknown, unknown>): void {
    this.recordHandshake("Interrupted")
    this.release(exit)
    this.upgrade.abandon(this.timers, this.host.settings.closeTimeout)
  }

  private reject(response: Handshake.HttpResponse, exit: Exit.Exit<unknown, unknown>): void {
    this.recordHandshake(String(response.status))
    this.release(exit)
    this.upgrade.reject(response, this.timers, this.host.settings.closeTimeout)
  }

  private accept(handshake: AcceptedHandshake): void {
    const { negotiated, request, response } = handshake
    const transport = this.upgrade.accept(request, response)
    this.recordHandshake(String(response.status))
    if (negotiated.length === 0) this.runHandler(handshake, transport, undefined)
    else this.startExtensions(handshake, transport)
  }

  private recordHandshake(result: string): void {
    const { context, span } = this
    ConnectionMetrics.of(context, "server").handshake(result)
    if (span === undefined) return
    span.attribute("websocket.handshake.result", result)
    endSpan(span, context, Exit.void)
  }

  /** Ends a session without a handler: releases what it acquired, and removes it once the stream is closed. */
  private release(exit: Exit.Exit<unknown, unknown>): void {
    const releasing = Effect.runForkWith(this.context)(Scope.close(this.scope, exit))
    this.fiber = releasing
    this.upgrade.onClose(() => releasing.addObserver(() => this.host.remove(this)))
  }

  // ---------------------------------------------------------------------------
  // The connection
  // ---------------------------------------------------------------------------

  private startExtensions(handshake: AcceptedHandshake, transport: Transport): void {
    const { maxMessageSize } = this.host.settings.connection
    const fiber = Effect.runForkWith(this.context)(Effect.timeout(
      Scope.provide(startExtensions(handshake.negotiated, maxMessageSize), this.scope),
      Duration.millis(this.timeLeft)
    ))
    this.fiber = fiber
    fiber.addObserver((started) => {
      if (Exit.isSuccess(started)) return this.runHandler(handshake, transport, started.value)
      this.upgrade.destroy()
      this.release(started)
    })
  }

  private runHandler(
    { accepted, negotiated, services }: AcceptedHandshake,
    transport: Transport,
    extensions: Extensions | undefined
  ): void {
    const { context, host, scope } = this
    let fiber: Fiber.Fiber<unknown, unknown> | undefined
    let hasEnded = false
    const connection = makeUnsafe(
      transport,
      host.settings.connection,
      { handshake: new RereadHandshake(this.upgrade.head, accepted), negotiated },
      context,
      extensions,
      () => {
        hasEnded = true
        if (fiber !== undefined) this.limitHandler(fiber, connection)
      }
    )
    this.connection = connection
    const handlerContext = Context.merge(within(context, connection.span), services).pipe(
      Context.add(Connection, connection),
      Context.add(Scope.Scope, scope)
    )
    const closed = Scope.addFinalizerExit(scope, (exit) => connection.closing.closeOnExit(exit))
    this.fiber = fiber = Effect.runForkWith(handlerContext)(
      Effect.onExit(Effect.andThen(closed, host.handler), (exit) => {
        const closing = Effect.catchCause(Scope.close(scope, exit), (cause) => logFinalizerDefect(connection, cause))
        return Exit.isSuccess(exit) ? closing : Effect.andThen(logHandlerFailure(connection, exit.cause), closing)
      })
    )
    fiber.addObserver(() => host.remove(this))
    if (hasEnded) this.limitHandler(fiber, connection)
  }

  /** After the end of its connection, a handler has `handlerTimeout` to finish; one that never used the connection has no time. */
  private limitHandler(fiber: Fiber.Fiber<unknown, unknown>, connection: ConnectionImpl): void {
    const { handlerTimeout } = this.host.settings
    if (handlerTimeout === 0 || !connection.isUsed) return fiber.interruptUnsafe()
    let timer: Timer | undefined
    const interruptLater = (unread: number) => {
      timer = connection.timers.schedule(handlerTimeout, () => {
        const remaining = connection.unreadAmount
        // The handler still reads received messages.
        if (remaining < unread) interruptLater(remaining)
        else fiber.interruptUnsafe()
      })
    }
    interruptLater(connection.unreadAmount)
    fiber.addObserver(() => connection.timers.cancel(timer))
  }

  private get timers(): Timers {
    return Timers.of(this.context)
  }

  /** What is left of `handshakeTimeout`, in milliseconds. */
  private get timeLeft(): number {
    return Math.max(0, this.deadline - this.timers.now())
  }
}
