/**
 * Routes of `effect/http` applications. The first request of a route loads `httpRoute`,
 * which loads most of `effect/http`. Servers without routes load neither.
 */
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type { UpgradeOptions } from "../../WebSocketServer.ts"
import { loadOnce } from "../runtime/loadOnce.ts"
import type { HandlerServices } from "../server/sessions.ts"

const load = () => import("./httpRoute.ts")

export const upgrade = <A, E, R, Services = never, RD = never>(
  handler: Effect.Effect<A, E, R>,
  options?: UpgradeOptions<Services, RD>
): Effect.Effect<HttpServerResponse, never, HttpServerRequest | HandlerServices<R, Services, RD>> =>
  Effect.flatten(loadOnce(() => load().then((route) => route.upgrade(handler, options))))

export const leave: Effect.Effect<HttpServerResponse, never, HttpServerRequest> = Effect.flatten(
  loadOnce(() => load().then((route) => route.leave))
)
