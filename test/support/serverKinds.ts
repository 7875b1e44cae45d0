/** The ways in which connections are served. */
import { Effect, Scope } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"
import { Connection, SocketServer, WebSocketServer } from "effect-ws"
import { type Application, application, serveApplication } from "./application.ts"
import { serve } from "./net.ts"

export type Handler = Effect.Effect<unknown, unknown, Connection.Connection | Scope.Scope>
export type Options = WebSocketServer.UpgradeOptions<never, Scope.Scope>

const portOf = Effect.map(({ port }: Pick<Application, "port">) => port)

/** Each runs a handler at `/`, and answers the port. */
export const ways: Record<
  string,
  (handler: Handler, options?: Options) => Effect.Effect<number, unknown, Scope.Scope>
> = {
  "a server": (handler, { handshakeTimeout, ...options } = {}) =>
    portOf(serve(handler, { handshakeTimeout, serve: options })),
  "a route": (handler, options) =>
    portOf(application(HttpRouter.add("GET", "/", WebSocketServer.upgrade(handler, options)))),
  "a route that is made for each request": (handler, options) =>
    portOf(application(HttpRouter.add("GET", "/", () => WebSocketServer.upgrade(handler, { ...options })))),
  "a route for a Socket": (handler, options) =>
    portOf(application(
      HttpRouter.add("GET", "/", SocketServer.upgrade(Effect.as(handler, HttpServerResponse.empty()), options))
    )),
  "an application without a router": (handler, options) =>
    portOf(serveApplication(HttpServer.serve(WebSocketServer.upgrade(handler, options))))
}
