/** The ways in which connections over HTTP/2 are served. */
import { Effect, Layer, Schema, type Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { WebSocketServer } from "effect-ws"
import type * as Http from "node:http"
import * as Http2 from "node:http2"
import { type Application, application, serveApplication } from "./application.ts"
import { tls } from "./certificates.ts"
import { serve } from "./net.ts"
import type { Handler, Options } from "./serverKinds.ts"

const cleartext = Effect.map(({ port }: Pick<Application, "port">) => `http://127.0.0.1:${port}`)
const encrypted = Effect.map(({ port }: Pick<Application, "port">) => `https://localhost:${port}`)

// Applications take servers of HTTP/2 as those of HTTP/1.1.
export const plainServer = () =>
  WebSocketServer.prepareServer(Http2.createServer(), { http2: true }) as unknown as Http.Server
export const secureServer = () =>
  WebSocketServer.prepareServer(Http2.createSecureServer({ ...tls, allowHTTP1: true }), {
    http2: true
  }) as unknown as Http.Server

const apiRoute = (handler: Handler, options: Options) => {
  const Api = HttpApi.make("api").add(
    HttpApiGroup.make("live").add(HttpApiEndpoint.get("feed", "/", { success: Schema.Void }))
  )
  const Live = HttpApiBuilder.group(
    Api,
    "live",
    (handlers) => handlers.handleRaw("feed", () => WebSocketServer.upgrade(handler, options))
  )
  return HttpApiBuilder.layer(Api).pipe(Layer.provide(Live))
}

const route = (handler: Handler, options?: Options) =>
  HttpRouter.add("GET", "/", WebSocketServer.upgrade(handler, options))

/** Each runs a handler at `/`, and answers the URL of its server. */
export const http2Ways: Readonly<
  Record<string, (handler: Handler, options?: Options) => Effect.Effect<string, unknown, Scope.Scope>>
> = {
  "a server without TLS": (handler, { handshakeTimeout, ...options } = {}) =>
    cleartext(serve(handler, { cleartextHttp2: true, handshakeTimeout, serve: options })),
  "a server with TLS": (handler, { handshakeTimeout, ...options } = {}) =>
    encrypted(serve(handler, { http2: true, tls, handshakeTimeout, serve: options })),
  "a route without TLS": (handler, options) => cleartext(application(route(handler, options), plainServer)),
  "a route with TLS": (handler, options) => encrypted(application(route(handler, options), secureServer)),
  "a raw handler of an HttpApi": (handler, options = {}) =>
    encrypted(application(apiRoute(handler, options), secureServer)),
  "an application without a router": (handler, options) =>
    encrypted(serveApplication(HttpServer.serve(WebSocketServer.upgrade(handler, options)), secureServer))
}
