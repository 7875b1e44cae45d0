/**
 * What becomes of upgrade requests: each is a session, from the request to the
 * end of the handler that runs in its connection.
 *
 * A request that needs no thinking about, because the decision is there at once,
 * takes no fiber before the handler's.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { constTrue, constVoid } from "effect/Function"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import { Buffer } from "node:buffer"
import type * as Http from "node:http"
import { type Duplex, finished } from "node:stream"
import * as CloseCode from "../../CloseCode.ts"
import { Connection } from "../../Connection.ts"
import * as Extension from "../../Extension.ts"
import * as Handshake from "../../Handshake.ts"
import { InvalidConnectionHeader } from "../../HandshakeError.ts"
import { InvalidCloseCode } from "../../ProtocolError.ts"
import { fromDuplex } from "../../Transport.ts"
import type { ServeOptions } from "../../WebSocketServer.ts"
import { addressKey, ConnectionLimiter } from "./connectionLimiter.ts"
import { emptyBytes } from "../runtime/buffers.ts"
import { type ConnectionImpl, defaultCloseTimeout, makeUnsafe } from "../connection/connection.ts"
import { type Extensions, start as startExtensions } from "../connection/extensionPipeline.ts"
import {
  HttpRequest,
  isTruncated,
  respondUnavailable,
  ServerHandshake,
  serverOf,
  serviceUnavailable,
  writeAcceptance,
  writeResponse
} from "../node/http1Upgrade.ts"
import { logFailure, logRelease, namingRequest } from "../telemetry/logging.ts"
import { LinkedList, type Node } from "../runtime/linkedList.ts"
import { ConnectionMetrics } from "../telemetry/metrics.ts"
import { checkServe } from "../options.ts"
import { positiveDuration } from "../runtime/optionChecks.ts"
import { type Timer, Timers } from "../runtime/timers.ts"
import { endSpan, startServerHandshake, within } from "../telemetry/tracing.ts"
import { limitResponse, readEarly } from "../node/upgradeSocket.ts"
import { watchInactivity } from "../connection/inactivity.ts"

const defaultHandlerTimeout = Duration.seconds(30)
const defaultShutdownTimeout = Duration.seconds(10)

/** Takes an upgrade request, for which so many milliseconds were used up when it was there. */
export type Upgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer, used: number) => void

/** What a handler is given by its session; the rest of its services has to be in the context. */
export type HandlerServices<R, Services, RD> =
  | Exclude<RD, Scope.Scope>
  | Exclude<R, Connection | Scope.Scope | Services>

/** Sessions that can be stopped together. */
export interface SessionGroup {
  readonly connections: () => Array<Connection>
  readonly stop: Effect.Effect<void>
}

/** Runs a handler for each upgrade request. What the handler and the decision need is in the `context` of each. */
export interface Sessions<Needs> extends SessionGroup {
  /** Deals with a request from its head on, and answers it. */
  readonly upgrade: (
    context: Context.Context<Needs>,
    message: Http.IncomingMessage,
    socket: Duplex,
    head: Buffer,
    used: number
  ) => void
  /**
   * Deals with a request of an application. Succeeds when the connection is open;
   * otherwise fails with the response that the application is to give. Closes the
   * Scope when all is over.
   */
  readonly upgradeRoute: (
    context: Context.Context<Needs>,
    message: Http.IncomingMessage,
    head: Buffer,
    admission: ConnectionLimiter,
    scope: Scope.Closeable,
    application: Application
  ) => Effect.Effect<void, Handshake.HttpResponse>
}

/** The application that a request came to. */
export interface Application {
  /** Leaves the socket alone while the request is decided. */
  readonly hold: (socket: Duplex) => void
  /** Sees to the end of the socket again: the application answers, and its client has so much time to read that. */
  readonly giveBack: (socket: Duplex, timers: Timers, millis: number) => void
  /** Has the application find that it has responded: the socket gets a connection. */
  readonly claim: () => void
}

/** How a request is answered. One of these is called, once. */
interface Reply {
  /** The 101 is about to be written. */
  readonly accept: () => void
  readonly reject: (response: Handshake.HttpResponse) => void
  /** The client has gone, or the decision was interrupted. */
  readonly abandon: () => void
}

/** An upgraded socket, and what deals with it: first the fiber that decides, if that takes one, then the handler's. */
interface Session extends Node<Session> {
  readonly context: Context.Context<never>
  readonly message: Http.IncomingMessage
  readonly socket: Duplex
  /** The bytes right behind the request. */
  readonly head: Buffer
  /** Where it comes from, and has its place. */
  readonly source: string
  readonly admission: ConnectionLimiter
  /**
   * What the request acquires, from the decision on. Later layers are released first:
   * the handler's, then the connection, the extensions, and what `decide` acquired.
   */
  readonly scope: Scope.Closeable
  /** When the handshake has to be over, in milliseconds of the Clock. */
  readonly deadline: number
  /** The span of its handshake, where there is one. It is the current one in the context. */
  readonly span: Tracer.Span | undefined
  readonly reply: Reply
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  connection: ConnectionImpl | undefined
  /** The response that takes the place of the decision. */
  instead: Handshake.HttpResponse | undefined
}

/** Who is told when a first session begins, and when the last has ended. */
export interface SessionsListener {
  readonly onBegin: () => void
  readonly onIdle: () => void
}

export const makeSessions = <A, E, R, Services, RD>(
  handler: Effect.Effect<A, E, R>,
  options: ServeOptions<Services, RD>,
  path: string | undefined,
  handshakeTimeout: Duration.Input,
  watcher?: SessionsListener
): Effect.Effect<Sessions<HandlerServices<R, Services, RD>>> =>
  Effect.suspend(() => {
    type Needs = HandlerServices<R, Services, RD>
    const { code, reason = "" } = options.shutdownClose ?? { code: CloseCode.GoingAway }
    if (!CloseCode.isSendable(code)) return Effect.die(new InvalidCloseCode({ code }))
    const problem = checkServe(options) ?? positiveDuration("handshakeTimeout", handshakeTimeout)
    if (problem !== undefined) return Effect.die(problem)
    const handlerTimeout = Duration.toMillis(options.handlerTimeout ?? defaultHandlerTimeout)
    const shutdownTimeout = Duration.fromInputUnsafe(options.shutdownTimeout ?? defaultShutdownTimeout)
    type Decided = Exit.Exit<Handshake.Decision<Services>, Handshake.Reject>
    type Answered = Result.Result<AcceptedHandshake<Services>, Handshake.HttpResponse>
    const connectionOptions = { ...options, role: "server" as const }
    const sessions = new LinkedList<Session>()
    const places = { max: options.maxConnections, maxPerAddress: options.maxConnectionsPerAddress }
    const ownAdmission = new ConnectionLimiter()
    const handshakeMillis = Duration.toMillis(handshakeTimeout)
    const closeMillis = Duration.toMillis(options.closeTimeout ?? defaultCloseTimeout)

    /** When a handshake has to be over for which so many milliseconds were used up already. */
    const deadlineOf = (context: Context.Context<never>, used: number) =>
      Timers.of(context).now() + Math.max(0, handshakeMillis - used)

    /** Gives a request its session. It has its place already. */
    const addSession = (request: Omit<Session, "fiber" | "connection" | "instead" | "previous" | "next">): Session => {
      // From here on the socket may break at any time; nothing else listens.
      request.socket.on("error", constVoid)
      const session: Session = {
        ...request,
        fiber: undefined,
        connection: undefined,
        instead: undefined,
        previous: undefined,
        next: undefined
      }
      if (sessions.size === 0) watcher?.onBegin()
      sessions.add(session)
      return session
    }

    const read = (message: Http.IncomingMessage) => readUpgrade(message, options.origin ?? "same-origin", path)

    const decide = (context: Context.Context<never>, request: Handshake.Request) =>
      catchThrown(() =>
        (options.decide ?? Context.get(context, Handshake.HandshakePolicy).decide)(request) as Effect.Effect<
          Handshake.Decision<Services>,
          Handshake.Reject,
          RD
        >
      )

    const timeLeft = ({ context, deadline }: Session): number => Math.max(0, deadline - Timers.of(context).now())

    const upgrade = (
      context: Context.Context<Needs>,
      message: Http.IncomingMessage,
      socket: Duplex,
      head: Buffer,
      used: number
    ): void => {
      const source = addressKey(message.socket.remoteAddress)
      if (!ownAdmission.tryAcquire(source, places)) {
        ConnectionMetrics.of(context, "server").handshake("503")
        return respondUnavailable(socket)
      }
      const span = startServerHandshake(context, message, () => ({
        "url.path": pathOf(message),
        "client.address": message.socket.remoteAddress
      }))
      ask(addSession({
        context: within(context, span),
        message,
        socket,
        head,
        source,
        admission: ownAdmission,
        scope: Scope.makeUnsafe(),
        deadline: deadlineOf(context, used),
        span,
        reply: {
          accept: constVoid,
          reject: (response) => {
            writeResponse(socket, response)
            socket.end()
            socket.resume()
            limitResponse(socket, Timers.of(context), closeMillis)
          },
          abandon: () => void socket.destroy()
        }
      }))
    }

    const upgradeRoute = (
      context: Context.Context<Needs>,
      message: Http.IncomingMessage,
      head: Buffer,
      admission: ConnectionLimiter,
      scope: Scope.Closeable,
      application: Application
    ): Effect.Effect<void, Handshake.HttpResponse> =>
      Effect.callback((resume) => {
        const { socket } = message
        const source = addressKey(socket.remoteAddress)
        if (!admission.tryAcquire(source, places)) {
          ConnectionMetrics.of(context, "server").handshake("503")
          return resume(Effect.fail(serviceUnavailable()))
        }
        application.hold(socket)
        const giveBack = () => application.giveBack(socket, Timers.of(context), closeMillis)
        const session = addSession({
          context,
          message,
          socket,
          head,
          source,
          admission,
          scope,
          deadline: deadlineOf(context, 0),
          // The application has one of its own.
          span: undefined,
          reply: {
            accept: () => {
              application.claim()
              resume(Effect.void)
            },
            reject: (response) => {
              giveBack()
              resume(Effect.fail(response))
            },
            abandon: () => {
              giveBack()
              resume(Effect.interrupt)
            }
          }
        })
        ask(session)
        return Effect.suspend(() =>
          session.connection === undefined && session.fiber !== undefined ? Fiber.interrupt(session.fiber) : Effect.void
        )
      })

    /** Answers a request. */
    const ask = (session: Session): void => {
      const { context, message, socket } = session
      // A client that has ended its side has gone: it could not end the connection in order.
      if (socket.readableEnded) socket.destroy()
      if (socket.destroyed) return abandon(session, Exit.interrupt())
      const request = read(message)
      if (Result.isFailure(request)) return refuse(session, request.failure, Exit.void)
      runDecision(session, request.success, (decided, early) => {
        const answer = toResponse(context, request.success, decided)
        if (Result.isFailure(answer)) refuse(session, answer.failure, decided)
        else open(session, early.length === 0 ? session.head : Buffer.concat([session.head, early]), answer.success)
      })
    }

    /** Asks for the decision. It may take time, unless the client goes or the server stops before it is there. */
    const runDecision = (
      session: Session,
      request: Handshake.Request,
      then: (decided: Decided, early: Uint8Array) => void
    ): void => {
      const { context, scope, socket } = session
      const decided = (exit: Exit.Exit<unknown, unknown>, early: Uint8Array) => {
        if (socket.destroyed) abandon(session, exit)
        else if (session.instead !== undefined) refuse(session, session.instead, exit)
        else if (Exit.hasInterrupts(exit)) abandon(session, exit)
        else then(exit as Decided, early)
      }
      const deciding = decide(context, request)
      if (Exit.isExit(deciding)) return decided(deciding, emptyBytes)
      const fiber = Effect.runForkWith(context as Context.Context<Exclude<RD, Scope.Scope>>)(
        Scope.provide(deciding, scope)
      )
      const atOnce = fiber.pollUnsafe()
      if (atOnce !== undefined) return decided(atOnce, emptyBytes)
      session.fiber = fiber
      const interrupt = () => fiber.interruptUnsafe()
      socket.once("close", interrupt)
      const stopReading = readEarly(socket)
      const stopWatching = watchInactivity(Timers.of(context), timeLeft(session), {
        isInactive: constTrue,
        onTimeout: () => decideInstead(session, rejection(503)),
        onActivity: constVoid
      })
      // The decision itself may have had the server stop.
      if (session.instead !== undefined) interrupt()
      fiber.addObserver((exit) => {
        socket.off("close", interrupt)
        stopWatching()
        decided(exit, stopReading())
      })
    }

    /** The response is known, whatever is decided. */
    const decideInstead = (session: Session, response: Handshake.HttpResponse) => {
      session.instead ??= response
      session.fiber?.interruptUnsafe()
    }

    /** The handshake is over, with a response or without. */
    const recordHandshake = ({ context, span }: Session, result: string) => {
      ConnectionMetrics.of(context, "server").handshake(result)
      if (span === undefined) return
      span.attribute("websocket.handshake.result", result)
      endSpan(span, context, Exit.void)
    }

    const abandon = (session: Session, exit: Exit.Exit<unknown, unknown>) => {
      recordHandshake(session, "Interrupted")
      end(session, exit)
      session.reply.abandon()
    }

    /** Answers with an ordinary response, for which the client has `closeTimeout`. */
    const refuse = (session: Session, response: Handshake.HttpResponse, exit: Exit.Exit<unknown, unknown>) => {
      recordHandshake(session, String(response.status))
      end(session, exit)
      session.reply.reject(response)
    }

    /** Ends a session that gets no handler: when its socket is gone and what it acquired is released. */
    const end = (session: Session, exit: Exit.Exit<unknown, unknown>) => {
      const { context, scope, socket } = session
      const releasing = Effect.runForkWith(context)(Scope.close(scope, exit))
      session.fiber = releasing
      const whenReleased = () => releasing.addObserver(() => removeSession(session))
      if (socket.destroyed) whenReleased()
      else socket.once("close", whenReleased)
    }

    const toResponse = (context: Context.Context<never>, request: Handshake.Request, decided: Decided): Answered =>
      Result.flatMap(
        Exit.isSuccess(decided) ? Result.succeed(decided.value) : fromDecisionFailure(context, request, decided.cause),
        (decision) => respond(context, request, decision)
      )

    const respond = (
      context: Context.Context<never>,
      request: Handshake.Request,
      decision: Handshake.Decision<Services>
    ): Answered => {
      if (decision._tag === "Reject") {
        return Result.flatMap(orInternalError(context, request, Handshake.rejectResponse(decision)), Result.fail)
      }
      const { headers, services } = decision
      const protocol = decision.protocol ?? Handshake.selectProtocol(options.protocols ?? [], request.protocols)
      const negotiated = Extension.accept(options.extensions ?? [], request.extensions)
      const accepted = { protocol, extensions: negotiated.map(({ entry }) => entry), headers }
      return Result.map(
        orInternalError(context, request, Handshake.acceptResponse(request, accepted)),
        (response) => ({ request, accepted, negotiated, response, services })
      )
    }

    /** Accepts the request. What extensions begin with may take time. */
    const open = (session: Session, head: Buffer, answer: AcceptedHandshake<Services>) => {
      const { negotiated, request, response } = answer
      const { context, socket } = session
      session.reply.accept()
      writeAcceptance(socket, request, response)
      recordHandshake(session, "101")
      if (negotiated.length === 0) return handle(session, head, answer, undefined)
      session.fiber = Effect.runForkWith(context)(Effect.timeout(
        Scope.provide(startExtensions(negotiated, options.maxMessageSize), session.scope),
        Duration.millis(timeLeft(session))
      ))
      session.fiber.addObserver((started) => {
        if (Exit.isSuccess(started)) return handle(session, head, answer, started.value as Extensions)
        socket.destroy()
        end(session, started)
      })
    }

    /** Runs the handler in a connection. */
    const handle = (
      session: Session,
      head: Buffer,
      { accepted, negotiated, services }: AcceptedHandshake<Services>,
      extensions: Extensions | undefined
    ) => {
      const { context, message, scope } = session
      let fiber: Fiber.Fiber<unknown, unknown> | undefined
      let isOver = false
      const connection = makeUnsafe(
        fromDuplex(session.socket, head),
        connectionOptions,
        { handshake: new ServerHandshake(message, accepted), negotiated },
        context,
        extensions,
        () => {
          isOver = true
          if (fiber !== undefined) limitHandler(fiber, connection)
        }
      )
      session.connection = connection
      const inConnection = Context.merge(within(context, connection.span), services).pipe(
        Context.add(Connection, connection),
        Context.add(Scope.Scope, scope)
      )
      const closed = Scope.addFinalizerExit(scope, (exit) => connection.closeOnExit(exit))
      session.fiber = fiber = Effect.runForkWith(inConnection)(
        Effect.onExit(
          Effect.andThen(closed, handler as Effect.Effect<A, E, Services | Connection | Scope.Scope>),
          (exit) => {
            const closing = Effect.catchCause(Scope.close(scope, exit), (cause) => logRelease(connection, cause))
            return Exit.isSuccess(exit) ? closing : Effect.andThen(logFailure(connection, exit.cause), closing)
          }
        )
      )
      fiber.addObserver(() => removeSession(session))
      if (isOver) limitHandler(fiber, connection)
    }

    /** The connection has ended: its handler has `handlerTimeout` to finish, unless it has nothing to do with it. */
    const limitHandler = (fiber: Fiber.Fiber<unknown, unknown>, connection: ConnectionImpl) => {
      if (handlerTimeout === 0 || !connection.isUsed) return fiber.interruptUnsafe()
      let deadline: Timer | undefined
      const interruptLater = (unread: number) => {
        deadline = connection.timers.schedule(handlerTimeout, () => {
          const left = connection.unreadAmount
          // It takes its time over what was received.
          if (left < unread) interruptLater(left)
          else fiber.interruptUnsafe()
        })
      }
      interruptLater(connection.unreadAmount)
      fiber.addObserver(() => connection.timers.cancel(deadline))
    }

    const removeSession = (session: Session) => {
      if (sessions.delete(session)) session.admission.release(session.source)
      if (sessions.size === 0) watcher?.onIdle()
    }

    /** Waits for all that runs for a session: its decision, its handler, the release of what it acquired. */
    const idle: Effect.Effect<void> = Effect.suspend(() => {
      const running = Array.from(sessions).flatMap(({ fiber }) => fiber?.pollUnsafe() === undefined ? fiber ?? [] : [])
      return running.length === 0 ? Effect.void : Effect.andThen(Fiber.awaitAll(running), idle)
    })

    const stop = Effect.gen(function*() {
      for (const session of sessions) {
        if (session.connection !== undefined) session.connection.sendClose({ code, reason })
        // As a request that comes later.
        else decideInstead(session, serviceUnavailable())
      }
      const responses = Effect.suspend(() =>
        Effect.forEach(sessions, ({ socket }) => written(socket), { concurrency: "unbounded" })
      )
      yield* Effect.timeoutOption(Effect.andThen(idle, responses), shutdownTimeout)
      for (const { fiber, socket } of sessions) {
        socket.destroy()
        fiber?.interruptUnsafe()
      }
      yield* idle
      for (const session of sessions) removeSession(session)
    })

    return Effect.succeed({
      upgrade,
      upgradeRoute,
      connections: () =>
        Array.from(sessions).flatMap(({ connection }) =>
          connection === undefined || connection.ended !== undefined ? [] : [connection]
        ),
      stop
    })
  })

/** Waits until all that was written to a socket has left, and its side has ended; or until it is gone. */
const written = (socket: Duplex): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const stop = finished(socket, { readable: false }, () => resume(Effect.void))
    return Effect.sync(stop)
  })

/** What a request is accepted with. */
interface AcceptedHandshake<in Services> {
  readonly request: Handshake.Request
  readonly accepted: Handshake.AcceptOptions
  readonly negotiated: ReadonlyArray<Extension.Negotiated>
  readonly response: Handshake.HttpResponse
  readonly services: Context.Context<Services>
}

/** What every server asks of a request before anybody decides; otherwise, the response that says what was wrong. */
const readUpgrade = (
  message: Http.IncomingMessage,
  origin: Handshake.OriginPolicy,
  path: string | undefined
): Result.Result<Handshake.Request, Handshake.HttpResponse> => {
  if (isTruncated(message, serverOf(message))) return Result.fail(tooManyHeaders)
  const request = Handshake.readRequest(new HttpRequest(message))
  if (Result.isFailure(request)) return Result.fail(Handshake.errorResponse(request.failure))
  const allowed = Handshake.checkOrigin(request.success, origin)
  if (Result.isFailure(allowed)) return Result.fail(Handshake.errorResponse(allowed.failure))
  return path === undefined || request.success.path === path
    ? Result.succeed(request.success)
    : Result.fail(rejection(404, `there is nothing at ${request.success.path}`))
}

/** Without the query, in which there may be secrets. */
const pathOf = ({ url }: Http.IncomingMessage): string => url!.replace(/[?#].*/, "")

export const rejection = (status: number, body?: string): Handshake.HttpResponse =>
  Result.getOrThrow(Handshake.rejectResponse(Handshake.reject({ status, body })))

/** What comes of it when nobody accepted or rejected. */
const fromDecisionFailure = (
  context: Context.Context<never>,
  request: Handshake.Request,
  cause: Cause.Cause<Handshake.Reject>
): Result.Result<Handshake.Reject> => {
  const rejected = Cause.findError(cause)
  if (Result.isSuccess(rejected)) return Result.succeed(rejected.success)
  Effect.runForkWith(context)(
    namingRequest(request)(Effect.logError("the decision about a WebSocket request died", cause))
  )
  return Result.succeed(Handshake.reject({ status: 500 }))
}

/** A decision that cannot be written is the program's mistake, and not for the client to read. */
const orInternalError = <T>(
  context: Context.Context<never>,
  request: Handshake.Request,
  result: Result.Result<T, { readonly message: string }>
): Result.Result<T, Handshake.HttpResponse> =>
  Result.mapError(result, ({ message }) => {
    Effect.runForkWith(context)(namingRequest(request)(Effect.logError(message)))
    return internalError
  })

/** What is said to who asks for a WebSocket, and in such a way that Node takes it for a plain request. */
export const upgradeRequired = (message: Http.IncomingMessage): Handshake.HttpResponse => {
  if (isTruncated(message, serverOf(message))) return tooManyHeaders
  const read = Handshake.readRequest(new HttpRequest(message))
  // Node passes on as a plain request whatever lacks one of the two headers of an upgrade. Not every Node takes a value
  // with a tab behind it for one.
  const error = Result.isFailure(read)
    ? read.failure
    : new InvalidConnectionHeader({ value: message.headers.connection })
  return Handshake.errorResponse(error)
}

/** A function of the user's that is to answer an effect, and may throw instead. */
const catchThrown = <A, E, R>(evaluate: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  try {
    return evaluate()
  } catch (defect) {
    return Effect.die(defect)
  }
}

const internalError = rejection(500)

/** A proxy appends what a server may rely on, so a request is not judged without its last headers. */
const tooManyHeaders = rejection(431, "the request has too many header lines")
