/** An effect/http application on a port of this machine. */
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Duration, Effect, Exit, Layer, Scope } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { WebSocketServer } from "effect-ws"
import * as Http from "node:http"

export interface Application {
  readonly port: number
  readonly url: string
  /** Closes the layer, and answers how long that took, in milliseconds. */
  readonly close: Effect.Effect<number>
}

const prepared = () => WebSocketServer.prepareServer(Http.createServer())

/** Serves routes, for as long as the Scope lives or until it is closed. */
export const application = <A, E>(
  routes: Layer.Layer<A, E, any>,
  makeServer: () => Http.Server = prepared,
  options?: { readonly gracefulShutdownTimeout?: Duration.Input }
): Effect.Effect<Application, unknown, Scope.Scope> =>
  serveApplication(
    HttpRouter.serve(routes as Layer.Layer<A, E, HttpRouter.HttpRouter>, {
      disableListenLog: true,
      disableLogger: true
    }),
    makeServer,
    options
  )

/** Gives an application its server. */
export const serveApplication = <A, E>(
  app: Layer.Layer<A, E, any>,
  makeServer: () => Http.Server = prepared,
  options?: { readonly gracefulShutdownTimeout?: Duration.Input }
): Effect.Effect<Application, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (opened, exit) => Scope.close(opened, exit))
    const layer = (app as Layer.Layer<A, E, HttpServer.HttpServer>).pipe(
      Layer.provideMerge(NodeHttpServer.layer(makeServer, { port: 0, host: "127.0.0.1", ...options }))
    )
    const context = yield* Layer.buildWithScope(layer, scope)
    const { address } = Context.get(context as Context.Context<HttpServer.HttpServer>, HttpServer.HttpServer)
    const port = address._tag === "UnixPathAddress" ? 0 : address.port
    return {
      port,
      url: `ws://127.0.0.1:${port}`,
      close: Effect.map(Effect.timed(Scope.close(scope, Exit.void)), ([duration]) => Duration.toMillis(duration))
    }
  })
