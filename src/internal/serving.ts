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
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type { Buffer } from "node:buffer"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as CloseCode from "../CloseCode.ts"
import { Connection } from "../Connection.ts"
import * as Extension from "../Extension.ts"
import * as Handshake from "../Handshake.ts"
import { InvalidConnectionHeader } from "../HandshakeError.ts"
import { InvalidCloseCode } from "../ProtocolError.ts"
import { fromDuplex } from "../Transport.ts"
import type { ServeOptions } from "../WebSocketServer.ts"
import { Admission, sourceOf } from "./admission.ts"
import { type ConnectionImpl, openUnsafe } from "./connection.ts"
import { type Extensions, start as startExtensions } from "./extensions.ts"
import {
  HttpRequest,
  isTruncated,
  serverOf,
  ServerOpening,
  turnAway,
  unavailable,
  writeAcceptance,
  writeResponse
} from "./http.ts"
import { type Member, Members } from "./members.ts"
import { Meter } from "./meter.ts"
import { checkServe, wait } from "./options.ts"
import { type Timer, Timers } from "./timers.ts"
import { endSpan, startServerHandshake, within } from "./tracing.ts"

const defaultHandlerTimeout = Duration.seconds(30)
const defaultShutdownTimeout = Duration.seconds(10)
/** How long a client has to read why it is refused, in milliseconds. */
const refusalTimeout = 1000

/** Takes an upgrade request, for which so many milliseconds were used up when it was there. */
export type Upgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer, used: number) => void

/** What a handler is given by its session; the rest of its services has to be in the context. */
export type Ambient<R, Services, RD> = Exclude<RD, Scope.Scope> | Exclude<R, Connection | Scope.Scope | Services>

/** Sessions that can be stopped together. */
export interface Stoppable {
  readonly connections: () => Array<Connection["Service"]>
  readonly stop: Effect.Effect<void>
}

/** Runs a handler for each upgrade request. What the handler and the decision need is in the `context` of each. */
export interface Serving<RD, Needs> extends Stoppable {
  /** Deals with a request from its head on, and answers it. */
  readonly upgrade: (
    context: Context.Context<Needs>,
    message: Http.IncomingMessage,
    socket: Duplex,
    head: Buffer,
    used: number
  ) => void
  /**
   * Deals with a request that is somebody else's until it is accepted: then its
   * socket is claimed. Succeeds when it is answered; otherwise fails with the
   * response that somebody else is to give. Closes the Scope when all is over.
   */
  readonly take: (
    context: Context.Context<Needs>,
    message: Http.IncomingMessage,
    admission: Admission,
    scope: Scope.Closeable,
    claim: Claim
  ) => Effect.Effect<void, Handshake.HttpResponse, Exclude<RD, Scope.Scope>>
}

/** Takes a socket over, and answers what came right behind the request; or the response that it is too late for that. */
export type Claim = () => Result.Result<Buffer, Handshake.HttpResponse>

/** An upgraded socket, and what deals with it: first the fiber that decides, if that takes one, then the handler's. */
interface Session extends Member<Session> {
  readonly context: Context.Context<never>
  readonly socket: Duplex
  /** Where it comes from, and has its place. */
  readonly source: string
  readonly admission: Admission
  /**
   * What the request acquires, from the decision on. Later layers are released first:
   * the handler's, then the connection, the extensions, and what `decide` acquired.
   */
  readonly scope: Scope.Closeable
  /** When the handshake has to be over, in milliseconds of the Clock. */
  readonly deadline: number
  /** The span of its handshake, where there is one. It is the current one in the context. */
  readonly span: Tracer.Span | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  connection: ConnectionImpl | undefined
}

/** Who is told when a first session begins, and when the last has ended. */
export interface Watcher {
  readonly onBegin: () => void
  readonly onIdle: () => void
}

export const makeServing = <A, E, R, Services, RD>(
  handler: Effect.Effect<A, E, R>,
  options: ServeOptions<Services, RD>,
  path: string | undefined,
  handshakeTimeout: Duration.Duration,
  watcher?: Watcher
): Effect.Effect<Serving<RD, Ambient<R, Services, RD>>> =>
  Effect.suspend(() => {
    type Needs = Ambient<R, Services, RD>
    const { code, reason = "" } = options.shutdownClose ?? { code: CloseCode.GoingAway }
    if (!CloseCode.isOnWire(code)) return Effect.die(new InvalidCloseCode({ code }))
    const problem = checkServe(options) ?? wait("handshakeTimeout", handshakeTimeout)
    if (problem !== undefined) return Effect.die(problem)
    const handlerTimeout = Duration.toMillis(options.handlerTimeout ?? defaultHandlerTimeout)
    const shutdownTimeout = Duration.fromInputUnsafe(options.shutdownTimeout ?? defaultShutdownTimeout)
    type Decided = Exit.Exit<Handshake.Decision<Services>, Handshake.Reject>
    type Answered = Result.Result<Answer<Services>, Handshake.HttpResponse>
    const connectionOptions = { ...options, role: "server" as const }
    const sessions = new Members<Session>()
    const places = { max: options.maxConnections, maxPerAddress: options.maxConnectionsPerAddress }
    const ownAdmission = new Admission()
    const handshakeMillis = Duration.toMillis(handshakeTimeout)
    let stopping = false

    /** When a handshake has to be over for which so many milliseconds were used up already. */
    const deadlineOf = (context: Context.Context<never>, used: number) =>
      Timers.of(context).now() + Math.max(0, handshakeMillis - used)

    /** Gives a request its session. It has its place already. */
    const begin = (
      context: Context.Context<never>,
      socket: Duplex,
      source: string,
      admission: Admission,
      scope: Scope.Closeable,
      deadline: number,
      span?: Tracer.Span
    ): Session => {
      // From here on the socket may break at any time; nobody else listens.
      socket.on("error", constVoid)
      const session: Session = {
        context: within(context, span),
        socket,
        source,
        admission,
        scope,
        deadline,
        span,
        fiber: undefined,
        connection: undefined,
        before: undefined,
        behind: undefined
      }
      if (sessions.size === 0) watcher?.onBegin()
      sessions.add(session)
      return session
    }

    const read = (message: Http.IncomingMessage) => readUpgrade(message, options.origin ?? "same-origin", path)

    const policy = (context: Context.Context<never>, request: Handshake.Request) =>
      attempt(() =>
        (options.decide ?? Context.get(context, Handshake.Handshake).decide)(request) as Effect.Effect<
          Handshake.Decision<Services>,
          Handshake.Reject,
          RD
        >
      )

    /** The decision, which has until the deadline, and acquires what it needs for the whole session. */
    const deciding = (effect: ReturnType<typeof policy>, scope: Scope.Scope, duration: Duration.Duration) =>
      Scope.provide(inTime(duration)(effect), scope)

    const timeLeft = ({ context, deadline }: Session) =>
      Duration.millis(Math.max(0, deadline - Timers.of(context).now()))

    const upgrade = (
      context: Context.Context<Needs>,
      message: Http.IncomingMessage,
      socket: Duplex,
      head: Buffer,
      used: number
    ): void => {
      const source = sourceOf(message.socket.remoteAddress)
      if (!ownAdmission.enter(source, places)) {
        Meter.of(context, "server").handshake("503")
        return turnAway(socket)
      }
      const span = startServerHandshake(context, message, () => ({
        "url.path": pathOf(message),
        "client.address": message.socket.remoteAddress
      }))
      const scope = Scope.makeUnsafe()
      const session = begin(context, socket, source, ownAdmission, scope, deadlineOf(context, used), span)
      const request = read(message)
      if (Result.isFailure(request)) return refuse(session, request.failure, Exit.void)
      decideAbout(session, request.success, (decided) => {
        const answer = answerWith(session.context, request.success, decided)
        if (Result.isFailure(answer)) refuse(session, answer.failure, decided)
        else open(session, message, head, answer.success)
      })
    }

    /** Asks for the decision, which may take time, unless the client goes or the server stops before it is there. */
    const decideAbout = (session: Session, request: Handshake.Request, then: (decided: Decided) => void) => {
      const { context, scope, socket } = session
      const decision = policy(context, request)
      if (Exit.isExit(decision)) return socket.destroyed ? abandoned(session, decision) : then(decision as Decided)
      // A client that only ends its side has gone as well: it could not end the connection in order.
      const onGone = () => session.fiber?.interruptUnsafe()
      socket.once("close", onGone)
      socket.once("end", onGone)
      session.fiber = Effect.runForkWith(context as Context.Context<Exclude<RD, Scope.Scope>>)(
        deciding(decision, scope, timeLeft(session))
      )
      session.fiber.addObserver((decided) => {
        socket.off("close", onGone)
        socket.off("end", onGone)
        // As who comes after.
        if (stopping && !socket.destroyed) return refuse(session, unavailable(), decided)
        if (Exit.hasInterrupts(decided)) socket.destroy()
        if (socket.destroyed) abandoned(session, decided)
        else then(decided as Decided)
      })
    }

    /** The handshake is over, with a response or without. */
    const answered = ({ context, span }: Session, result: string) => {
      Meter.of(context, "server").handshake(result)
      if (span === undefined) return
      span.attribute("websocket.handshake.result", result)
      endSpan(span, context, Exit.void)
    }

    const abandoned = (session: Session, exit: Exit.Exit<unknown, unknown>) => {
      answered(session, "Interrupted")
      end(session, exit)
    }

    /** Releases what a session acquired that gets no handler. Its response does not wait for that; its place does. */
    const release = (session: Session, exit: Exit.Exit<unknown, unknown>) =>
      session.fiber = Effect.runForkWith(session.context)(Scope.close(session.scope, exit))

    const end = (session: Session, exit: Exit.Exit<unknown, unknown>) =>
      release(session, exit).addObserver(() => forget(session))

    const take = (
      context: Context.Context<Needs>,
      message: Http.IncomingMessage,
      admission: Admission,
      scope: Scope.Closeable,
      claim: Claim
    ): Effect.Effect<void, Handshake.HttpResponse, Exclude<RD, Scope.Scope>> =>
      // Who is interrupted between two steps gives their place back, too.
      Effect.uninterruptible(Effect.suspend(() => {
        const count = (result: string) => Meter.of(context, "server").handshake(result)
        // Whoever asked answers it, in a span of their own.
        const fail = (response: Handshake.HttpResponse) => {
          count(String(response.status))
          return Effect.fail(response)
        }
        const source = sourceOf(message.socket.remoteAddress)
        if (!admission.enter(source, places)) return fail(unavailable())
        const deadline = deadlineOf(context, 0)
        const start = () => begin(context, message.socket, source, admission, scope, deadline)
        const request = read(message)
        const answering: Effect.Effect<Answered, never, Exclude<RD, Scope.Scope>> = Result.isFailure(request)
          ? Effect.succeed(Result.fail(request.failure))
          : Effect.flatMap(
            // A client that goes interrupts it.
            Effect.exit(Effect.interruptible(deciding(policy(context, request.success), scope, handshakeTimeout))),
            (decided) =>
              Exit.hasInterrupts(decided)
                ? Effect.interrupt
                : Effect.succeed(answerWith(context, request.success, decided))
          )
        let session: Session | undefined
        return answering.pipe(
          Effect.flatMap((answer) => {
            if (Result.isFailure(answer)) return fail(answer.failure)
            const { socket } = message
            if (socket.readableEnded) socket.destroy()
            if (socket.destroyed) return Effect.interrupt
            const head = claim()
            if (Result.isFailure(head)) return fail(head.failure)
            session = start()
            open(session, message, head.success, answer.success)
            return Effect.void
          }),
          Effect.onExit((exit) =>
            Effect.sync(() => {
              if (session !== undefined) return
              if (Exit.hasInterrupts(exit)) count("Interrupted")
              end(start(), exit)
            })
          )
        )
      }))

    const answerWith = (context: Context.Context<never>, request: Handshake.Request, decided: Decided): Answered =>
      Result.flatMap(
        Exit.isSuccess(decided) ? Result.succeed(decided.value) : withoutDecision(context, decided.cause),
        (decision) => respond(context, request, decision)
      )

    const respond = (
      context: Context.Context<never>,
      request: Handshake.Request,
      decision: Handshake.Decision<Services>
    ): Answered => {
      if (decision._tag === "Reject") {
        return Result.flatMap(orInternalError(context, Handshake.rejectResponse(decision)), Result.fail)
      }
      const { headers, services } = decision
      const protocol = decision.protocol ?? Handshake.selectProtocol(options.protocols ?? [], request.protocols)
      const agreed = Extension.accept(options.extensions ?? [], request.extensions)
      const accepted = { protocol, extensions: agreed.map(({ entry }) => entry), headers }
      return Result.map(
        orInternalError(context, Handshake.acceptResponse(request, accepted)),
        (response) => ({ request, accepted, agreed, response, services })
      )
    }

    /** Accepts the request. What extensions begin with may take time. */
    const open = (session: Session, message: Http.IncomingMessage, head: Buffer, answer: Answer<Services>) => {
      const { agreed, request, response } = answer
      const { context, socket } = session
      writeAcceptance(socket, request, response)
      answered(session, "101")
      if (agreed.length === 0) return handle(session, message, head, answer, undefined)
      session.fiber = Effect.runForkWith(context)(Effect.timeout(
        Scope.provide(startExtensions(agreed, options.maxMessageSize), session.scope),
        timeLeft(session)
      ))
      session.fiber.addObserver((started) => {
        if (Exit.isSuccess(started)) return handle(session, message, head, answer, started.value as Extensions)
        socket.destroy()
        end(session, started)
      })
    }

    /** Runs the handler in a connection. */
    const handle = (
      session: Session,
      message: Http.IncomingMessage,
      head: Buffer,
      { accepted, agreed, services }: Answer<Services>,
      extensions: Extensions | undefined
    ) => {
      const { context, scope } = session
      let fiber: Fiber.Fiber<unknown, unknown> | undefined
      let isOver = false
      const connection = openUnsafe(
        fromDuplex(session.socket, head),
        connectionOptions,
        { opening: new ServerOpening(message, accepted), agreed },
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
            const closing = Scope.close(scope, exit)
            return Exit.isSuccess(exit) ? closing : Effect.andThen(logFailure(connection, exit.cause), closing)
          }
        )
      )
      fiber.addObserver(() => forget(session))
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

    /** Sends a last response. The client is given a moment to read it before the socket is cut. */
    const refuse = (session: Session, response: Handshake.HttpResponse, exit: Exit.Exit<unknown, unknown>) => {
      const { context, socket } = session
      const timers = Timers.of(context)
      const deadline = timers.schedule(refusalTimeout, () => socket.destroy())
      writeResponse(socket, response)
      answered(session, String(response.status))
      const releasing = release(session, exit)
      socket.once("close", () => {
        timers.cancel(deadline)
        releasing.addObserver(() => forget(session))
      })
      socket.end()
      socket.resume()
    }

    const forget = (session: Session) => {
      if (sessions.delete(session)) session.admission.leave(session.source)
      if (sessions.size === 0) watcher?.onIdle()
    }

    const stop = Effect.gen(function*() {
      stopping = true
      for (const { connection, fiber } of sessions) {
        if (connection !== undefined) connection.sendClose({ code, reason })
        else fiber?.interruptUnsafe()
      }
      const fibers = Array.from(sessions).flatMap(({ fiber }) => fiber ?? [])
      yield* Effect.timeoutOption(Fiber.awaitAll(fibers), shutdownTimeout)
      for (const { fiber, socket } of sessions) {
        socket.destroy()
        fiber?.interruptUnsafe()
      }
      yield* Fiber.awaitAll(fibers)
    })

    return Effect.succeed({
      upgrade,
      take,
      connections: () =>
        Array.from(sessions).flatMap(({ connection }) =>
          connection === undefined || connection.ended !== undefined ? [] : [connection]
        ),
      stop
    })
  })

/** What a request is accepted with. */
interface Answer<in Services> {
  readonly request: Handshake.Request
  readonly accepted: Handshake.AcceptOptions
  readonly agreed: ReadonlyArray<Extension.Agreed>
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

/** A decision that is not there in time is none. */
const inTime = (duration: Duration.Duration) =>
  Effect.timeoutOrElse({ duration, orElse: () => Effect.fail(Handshake.reject({ status: 503 })) })

/** What comes of it when nobody accepted or rejected. */
const withoutDecision = (
  context: Context.Context<never>,
  cause: Cause.Cause<Handshake.Reject>
): Result.Result<Handshake.Reject> => {
  const rejected = Cause.findError(cause)
  if (Result.isSuccess(rejected)) return Result.succeed(rejected.success)
  Effect.runForkWith(context)(Effect.logError("the decision about a WebSocket request died", cause))
  return Result.succeed(Handshake.reject({ status: 500 }))
}

/** A decision that cannot be written is the program's mistake, and not for the client to read. */
const orInternalError = <T>(
  context: Context.Context<never>,
  result: Result.Result<T, { readonly message: string }>
): Result.Result<T, Handshake.HttpResponse> =>
  Result.mapError(result, ({ message }) => {
    Effect.runForkWith(context)(Effect.logError(message))
    return internalError
  })

/** What is said to who asks for a WebSocket, and in such a way that Node takes it for a plain request. */
export const plainResponse = (message: Http.IncomingMessage): Handshake.HttpResponse => {
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
const attempt = <A, E, R>(evaluate: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  try {
    return evaluate()
  } catch (defect) {
    return Effect.die(defect)
  }
}

const internalError = rejection(500)

/** A proxy appends what a server may rely on, so a request is not judged without its last headers. */
const tooManyHeaders = rejection(431, "the request has too many header lines")

/** The end of the connection is how handlers end; everything else is a failure that somebody should see. */
const logFailure = (connection: ConnectionImpl, cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const unexpected = cause.reasons.some((reason) =>
    reason._tag !== "Interrupt" && !connection.isEnd(reason._tag === "Die" ? reason.defect : reason.error)
  )
  return unexpected
    ? Effect.logError("a WebSocket handler failed", cause)
    : Effect.logDebug("a WebSocket handler ended with its connection", cause)
}
