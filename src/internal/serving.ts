/**
 * What becomes of upgrade requests: each is a session, a fiber that negotiates,
 * opens a connection, and runs the handler in it.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Buffer } from "node:buffer"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import * as CloseCode from "../CloseCode.ts"
import { Connection, type Opening } from "../Connection.ts"
import { InvalidCloseCode } from "../ProtocolError.ts"
import * as Handshake from "../Handshake.ts"
import { fromDuplex } from "../Transport.ts"
import type { ServeOptions } from "../WebSocketServer.ts"
import { type ConnectionImpl, open } from "./connection.ts"
import { toHttpRequest, writeResponse } from "./http.ts"

const defaultHandlerTimeout = Duration.seconds(30)
const defaultShutdownTimeout = Duration.seconds(10)

export type Upgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => void

export interface Serving {
  readonly upgrade: Upgrade
  readonly connections: () => Array<Connection["Service"]>
  readonly stop: Effect.Effect<void>
}

/** An upgraded socket and the fiber that deals with it, from the request to the end of the handler. */
interface Session {
  readonly socket: Duplex
  readonly fiber: Fiber.Fiber<unknown, unknown>
  connection: ConnectionImpl | undefined
}

export const makeServing = <A, E, R, Services, RD>(
  handler: Effect.Effect<A, E, R>,
  options: ServeOptions<Services, RD>,
  path: string | undefined,
  handshakeTimeout: Duration.Duration
): Effect.Effect<Serving, never, RD | Exclude<R, Connection | Scope.Scope | Services>> =>
  Effect.contextWith((context: Context.Context<RD | Exclude<R, Connection | Scope.Scope | Services>>) => {
    const { code, reason = "" } = options.shutdownClose ?? { code: CloseCode.GoingAway }
    if (!CloseCode.isOnWire(code)) return Effect.die(new InvalidCloseCode({ code }))
    // What the handler needs besides its connection is in the context that sessions are run with.
    const inConnection = handler as Effect.Effect<A, E, Connection | Services | Scope.Scope>
    const run = Effect.runForkWith(context)
    const handlerTimeout = Duration.fromInputUnsafe(options.handlerTimeout ?? defaultHandlerTimeout)
    const shutdownTimeout = Duration.fromInputUnsafe(options.shutdownTimeout ?? defaultShutdownTimeout)
    const sessions = new Set<Session>()

    const upgrade: Upgrade = (request, socket, head) => {
      // From here on the socket may break at any time; nobody else listens.
      socket.on("error", constVoid)
      run(Effect.withFiber((fiber) => {
        const session: Session = { socket, fiber, connection: undefined }
        sessions.add(session)
        fiber.addObserver(() => sessions.delete(session))
        return handle(session, request, head)
      }))
    }

    const handle = (session: Session, request: Http.IncomingMessage, head: Buffer) => {
      const { fiber, socket } = session
      const negotiated = negotiate(request, options, path).pipe(
        Effect.timeoutOrElse({ duration: handshakeTimeout, orElse: () => Effect.fail(decisionTimedOut) }),
        whileOpen(socket)
      )
      return Effect.matchEffect(negotiated, {
        onFailure: (response) => refuse(socket, response),
        onSuccess: ({ opening, response, services }) => {
          writeResponse(socket, response)
          return Effect.flatMap(
            open(fromDuplex(socket, head), { ...options, role: "server", opening }, () => {
              // The connection has ended. Its handler, if it goes on, gets some time.
              if (fiber.pollUnsafe() !== undefined) return
              const deadline = run(Effect.delay(Effect.sync(() => fiber.interruptUnsafe()), handlerTimeout))
              fiber.addObserver(() => deadline.interruptUnsafe())
            }),
            (connection) => {
              session.connection = connection
              return inConnection.pipe(
                Effect.tapCause((cause) => logFailure(connection, cause)),
                Effect.provideContext(Context.add(services, Connection, connection))
              )
            }
          ).pipe(Effect.scoped, Effect.ignoreCause)
        }
      })
    }

    const stop = Effect.gen(function*() {
      for (const { connection, fiber } of sessions) {
        if (connection === undefined) fiber.interruptUnsafe()
        else connection.sendClose({ code, reason })
      }
      const fibers = Array.from(sessions, (session) => session.fiber)
      yield* Effect.timeoutOption(Fiber.awaitAll(fibers), shutdownTimeout)
      for (const { fiber, socket } of sessions) {
        socket.destroy()
        fiber.interruptUnsafe()
      }
      yield* Fiber.awaitAll(fibers)
    })

    return Effect.succeed({
      upgrade,
      connections: () =>
        Array.from(sessions).flatMap(({ connection }) =>
          connection === undefined || connection.ended !== undefined ? [] : [connection]
        ),
      stop
    })
  })

interface Negotiated<in Services> {
  readonly opening: Opening
  readonly response: Handshake.HttpResponse
  readonly services: Context.Context<Services>
}

/** From a request to the decision about it. What is not accepted fails with the response that says so. */
const negotiate = Effect.fnUntraced(function*<Services, R>(
  http: Http.IncomingMessage,
  options: ServeOptions<Services, R>,
  path: string | undefined
): Effect.fn.Return<Negotiated<Services>, Handshake.HttpResponse, R> {
  const refused = Result.mapError(Handshake.errorResponse)
  const request = yield* Effect.fromResult(refused(Handshake.readRequest(toHttpRequest(http))))
  yield* Effect.fromResult(refused(Handshake.checkOrigin(request, options.origin ?? "same-origin")))
  if (path !== undefined && request.path !== path) {
    return yield* rejection(Handshake.reject({ status: 404, body: `there is nothing at ${request.path}` }))
  }
  const policy = yield* Handshake.Handshake
  const decide = (options.decide ?? policy.decide) as (
    request: Handshake.Request
  ) => Effect.Effect<Handshake.Decision<Services>, Handshake.Reject, R>
  const decision = yield* decide(request).pipe(
    Effect.catch((reject) => Effect.succeed(reject)),
    Effect.catchDefect((defect) =>
      Effect.andThen(
        Effect.logError("the decision about a WebSocket request died", defect),
        Effect.succeed(Handshake.reject({ status: 500 }))
      )
    )
  )
  if (decision._tag === "Reject") return yield* rejection(decision)
  const subprotocol = decision.protocol ?? Handshake.selectProtocol(options.protocols ?? [], request.protocols)
  const response = yield* orInternalError(
    Handshake.acceptResponse(request, { protocol: subprotocol, headers: decision.headers })
  )
  const responseHeaders = Handshake.foldHeaders(response.rawHeaders)
  return { opening: { request, responseHeaders, subprotocol }, response, services: decision.services }
})

const rejection = (decision: Handshake.Reject): Effect.Effect<never, Handshake.HttpResponse> =>
  Effect.flatMap(orInternalError(Handshake.rejectResponse(decision)), Effect.fail)

/** A decision that cannot be written is the program's mistake, and not for the client to read. */
const orInternalError = <A>(
  result: Result.Result<A, { readonly message: string }>
): Effect.Effect<A, Handshake.HttpResponse> =>
  Result.isSuccess(result)
    ? Effect.succeed(result.success)
    : Effect.andThen(Effect.logError(result.failure.message), Effect.fail(internalError))

const statusOnly = (status: number): Handshake.HttpResponse =>
  Result.getOrThrow(Handshake.rejectResponse(Handshake.reject({ status })))
const internalError = statusOnly(500)
const decisionTimedOut = statusOnly(503)

/** Interrupts an effect when the client goes. */
const whileOpen = (socket: Duplex) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const onClose = () => fiber.interruptUnsafe()
    socket.once("close", onClose)
    return Effect.onExit(effect, (exit) =>
      Effect.sync(() => {
        socket.off("close", onClose)
        if (exit._tag === "Failure" && Cause.hasInterrupts(exit.cause)) socket.destroy()
      }))
  })

/** Sends a last response. The client is given a moment to read it before the socket is cut. */
const refuse = (socket: Duplex, response: Handshake.HttpResponse): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (socket.destroyed) return resume(Effect.void)
    socket.once("close", () => resume(Effect.void))
    writeResponse(socket, response)
    socket.end()
    socket.resume()
  }).pipe(
    Effect.timeoutOption(Duration.seconds(1)),
    Effect.ensuring(Effect.sync(() => {
      socket.destroy()
    })),
    Effect.asVoid
  )

/** The end of the connection is how handlers end; everything else is a failure that somebody should see. */
const logFailure = (connection: ConnectionImpl, cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const unexpected = cause.reasons.some((reason) =>
    reason._tag === "Die" || (reason._tag === "Fail" && reason.error !== connection.ended)
  )
  return unexpected
    ? Effect.logError("a WebSocket handler failed", cause)
    : Effect.logDebug("a WebSocket handler ended with its connection", cause)
}
