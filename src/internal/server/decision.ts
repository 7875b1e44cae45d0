/**
 * From an upgrade request to its response: the rules of every server, the program's
 * decision, and the response that follows from it.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Extension from "../../Extension.ts"
import * as Handshake from "../../Handshake.ts"
import { logDecisionDefect, logInvalidDecision } from "./logging.ts"
import type { SessionSettings } from "./options.ts"
import { internalError, rejection, tooManyHeaders } from "./responses.ts"
import type { RequestHead } from "./upgrade.ts"

/** The option `decide`, with its services in the context that runs it. */
export type Decide = (request: Handshake.Request) => Effect.Effect<Handshake.Decision, Handshake.Reject>

export type DecisionExit = Exit.Exit<Handshake.Decision, Handshake.Reject>

/** What a request is accepted with. */
export interface AcceptedHandshake {
  readonly request: Handshake.Request
  readonly accepted: Handshake.AcceptOptions
  readonly negotiated: ReadonlyArray<Extension.Negotiated>
  readonly response: Handshake.HttpResponse
  readonly services: Context.Context<never>
}

/** Checks what every server demands of a request. Fails with the response that says what is wrong. */
export const readUpgrade = (
  head: RequestHead,
  { origin, path }: Pick<SessionSettings, "origin" | "path">
): Result.Result<Handshake.Request, Handshake.HttpResponse> => {
  if (head.isTruncated) return Result.fail(tooManyHeaders)
  const request = Handshake.readRequest(head)
  if (Result.isFailure(request)) return Result.fail(Handshake.errorResponse(request.failure))
  const allowed = Handshake.checkOrigin(request.success, origin)
  if (Result.isFailure(allowed)) return Result.fail(Handshake.errorResponse(allowed.failure))
  return path === undefined || request.success.path === path
    ? Result.succeed(request.success)
    : Result.fail(rejection(404, `there is nothing at ${request.success.path}`))
}

/** Runs a decision. Returns its exit if it does not suspend, and its fiber otherwise. */
export const runDecision = (
  decide: Decide | undefined,
  context: Context.Context<never>,
  request: Handshake.Request,
  scope: Scope.Scope
): DecisionExit | Fiber.Fiber<Handshake.Decision, Handshake.Reject> => {
  const decision = evaluate(decide ?? Context.get(context, Handshake.HandshakePolicy).decide, request)
  // `Effect.succeed` and `Effect.fail` return an Exit, which needs no fiber.
  if (Exit.isExit(decision)) return decision as DecisionExit
  const fiber = Effect.runForkWith(context)(Scope.provide(decision, scope))
  return fiber.pollUnsafe() ?? fiber
}

/** Calls a function of the program, which may throw. */
const evaluate = (decide: Decide, request: Handshake.Request): ReturnType<Decide> => {
  try {
    return decide(request)
  } catch (defect) {
    return Effect.die(defect)
  }
}

/** Returns what to accept with, or fails with the response to reject with. */
export const toAnswer = (
  settings: Pick<SessionSettings, "extensions" | "protocols">,
  context: Context.Context<never>,
  request: Handshake.Request,
  exit: DecisionExit
): Result.Result<AcceptedHandshake, Handshake.HttpResponse> => {
  const decision = Exit.isSuccess(exit) ? exit.value : fromFailure(context, request, exit.cause)
  if (decision._tag === "Reject") {
    return Result.flatMap(orInternalError(context, request, Handshake.rejectResponse(decision)), Result.fail)
  }
  const { headers, services } = decision
  const protocol = decision.protocol ?? Handshake.selectProtocol(settings.protocols, request.protocols)
  const negotiated = Extension.accept(settings.extensions, request.extensions)
  const accepted = { protocol, extensions: negotiated.map(({ entry }) => entry), headers }
  return Result.map(
    orInternalError(context, request, Handshake.acceptResponse(request, accepted)),
    (response) => ({ request, accepted, negotiated, response, services })
  )
}

/** A decision that dies is logged, and rejects with 500. */
const fromFailure = (
  context: Context.Context<never>,
  request: Handshake.Request,
  cause: Cause.Cause<Handshake.Reject>
): Handshake.Reject => {
  const rejected = Cause.findError(cause)
  if (Result.isSuccess(rejected)) return rejected.success
  Effect.runForkWith(context)(logDecisionDefect(request, cause))
  return Handshake.reject({ status: 500 })
}

/** Logs a decision that makes no valid response, which is a mistake of the program. The client gets 500. */
const orInternalError = <T>(
  context: Context.Context<never>,
  request: Handshake.Request,
  result: Result.Result<T, { readonly message: string }>
): Result.Result<T, Handshake.HttpResponse> =>
  Result.mapError(result, (error) => {
    Effect.runForkWith(context)(logInvalidDecision(request, error))
    return internalError
  })
