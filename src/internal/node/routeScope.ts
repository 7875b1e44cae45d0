/** The Scope of a session of a route. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpEffect from "effect/http/HttpEffect"
import * as Scope from "effect/Scope"

/** A Scope that can take over the Scope of the application's request, and then closes it last. */
export class RouteScope {
  readonly scope = Scope.makeUnsafe()
  private request: Scope.Closeable | undefined
  private isClosed = false

  constructor() {
    Effect.runSync(Scope.addFinalizerExit(this.scope, (exit) => {
      this.isClosed = true
      return this.request === undefined ? Effect.void : Scope.close(this.request, exit)
    }))
  }

  /**
   * Takes over the Scope of the request. The application would close it right after
   * the response, but the handler also uses what middleware has acquired in it. Only
   * when the application responds, the Scope in the context is certainly that of the
   * request: around a route there may be another, such as that of the whole
   * application, which must stay open.
   */
  takeOverRequest(context: Context.Context<never>): void {
    HttpEffect.appendPreResponseHandlerUnsafe(
      context,
      (_, response) =>
        Effect.contextWith((responding) =>
          Effect.sync(() => {
            const request = Context.getOrUndefined(responding, Scope.Scope)
            if (request !== undefined && !this.isClosed) {
              this.request = request as Scope.Closeable
              HttpEffect.scopeDisableClose(request)
            }
            return response
          })
        )
    )
  }
}
