import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { RouteScope } from "../../../src/internal/node/routeScope.ts"
import { application } from "../../support/application.ts"
import { eventually } from "../../support/resources.ts"

/** An application whose middleware acquires something for each request, and whose route `use`s a Scope. Returns the events. */
const visit = (use: (scope: RouteScope, events: Array<string>) => Effect.Effect<void>) =>
  Effect.gen(function*() {
    const events: Array<string> = []
    const acquiring = HttpRouter.middleware(
      (route) =>
        Effect.andThen(
          Effect.addFinalizer(() => Effect.sync(() => events.push("middleware released"))),
          route
        ),
      { global: true }
    )
    let scope: RouteScope | undefined
    const route = HttpRouter.add(
      "GET",
      "/",
      Effect.contextWith((context: Context.Context<never>) => {
        const made = scope = new RouteScope()
        made.takeOverRequest(context)
        return Effect.as(use(made, events), HttpServerResponse.text("hello"))
      })
    )
    const { port } = yield* application(Layer.merge(route, acquiring) as typeof route)
    const text = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/`).then((response) => response.text()))
    assert.strictEqual(text, "hello")
    return { events, scope: scope! }
  })

const close = ({ scope }: RouteScope) => Scope.close(scope, Exit.void)

describe("RouteScope", () => {
  it.live("takes over the Scope of the request, and closes it after its own finalizers", () =>
    Effect.gen(function*() {
      const { events, scope } = yield* visit((made, log) =>
        Scope.addFinalizer(made.scope, Effect.sync(() => log.push("session released")))
      )
      assert.deepStrictEqual(events, [])
      yield* close(scope)
      assert.deepStrictEqual(events, ["session released", "middleware released"])
    }))

  it.live("leaves the Scope of the request to the application, if it is closed before the response", () =>
    Effect.gen(function*() {
      const { events } = yield* visit(close)
      yield* eventually(() => events.length > 0)
      assert.deepStrictEqual(events, ["middleware released"])
    }))
})
