// @effect-diagnostics missingEffectError:off missingEffectContext:off
/**
 * Where the compiler reports a wrong handler, decision or option: at the argument that is wrong. The compiler runs these
 * tests: a line below `@ts-expect-error` that has no error is one.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Data, Effect, Layer, Stream } from "effect"
import { HttpRouter } from "effect/http"
import { Connection, Handshake, WebSocketClient, WebSocketServer } from "effect-ws"

class Rooms extends Context.Service<Rooms, { readonly join: Effect.Effect<void> }>()("test/Rooms") {}
class Full extends Data.TaggedError("Full")<{}> {}

const needsRooms = Effect.flatMap(Rooms, ({ join }) => join)

/** Holds code that is compiled and not run. */
const compiles = (code: () => unknown) => assert.isFunction(code)

describe("the compiler", () => {
  it("reports a handler that is no Effect at the handler", () =>
    compiles(() => [
      WebSocketServer.serve(
        // @ts-expect-error a function
        (connection: Connection.Connection) => connection.send("hello"),
        { protocols: ["v1"] }
      ),
      WebSocketServer.upgrade(
        // @ts-expect-error a generator function
        function*() {
          yield* Effect.void
        },
        { protocols: ["v1"] }
      ),
      Effect.flatMap(WebSocketServer.WebSocketServer, (server) =>
        server.serve(
          // @ts-expect-error a Stream
          Stream.make(1),
          { protocols: ["v1"] }
        ))
    ]))

  it("reports a decision of a wrong type, or that fails with another error, at decide", () =>
    compiles(() => [
      WebSocketServer.serve(Effect.void, {
        protocols: ["v1"],
        // @ts-expect-error a boolean
        decide: () => Effect.succeed(true)
      }),
      WebSocketServer.serve(Effect.void, {
        // @ts-expect-error not an Effect
        decide: () => Handshake.accept(),
        protocols: ["v1"]
      }),
      WebSocketServer.upgrade(Effect.void, {
        protocols: ["v1"],
        // @ts-expect-error an error that is not a Reject
        decide: () => Effect.fail(new Full())
      })
    ]))

  it("reports a wrong option at the option", () =>
    compiles(() => [
      WebSocketServer.serve(Effect.void, {
        protocols: ["v1"],
        // @ts-expect-error a string
        maxMessageSize: "1mb"
      }),
      WebSocketServer.upgrade(Effect.void, {
        protocols: ["v1"],
        // @ts-expect-error an unknown option
        protocol: "v1"
      }),
      WebSocketClient.reconnecting("ws://anywhere/", {
        protocols: ["v1"],
        // @ts-expect-error not an Effect
        onOpen: () => 3
      })
    ]))

  it("names the service that a handler needs, and reports it at the handler that states its services", () =>
    compiles(() => {
      const served: Layer.Layer<never, unknown, WebSocketServer.WebSocketServer | Rooms> = WebSocketServer.serve(
        needsRooms
      )
      const provided: Layer.Layer<never, unknown, WebSocketServer.WebSocketServer> = WebSocketServer.serve(needsRooms, {
        decide: () => Effect.succeed(Handshake.accept({ services: Context.make(Rooms, { join: Effect.void }) }))
      })
      const routed: Layer.Layer<never, never, HttpRouter.HttpRouter | HttpRouter.Request<"Requires", Rooms>> =
        HttpRouter.add("GET", "/", WebSocketServer.upgrade(needsRooms))
      return [
        served,
        provided,
        routed,
        // @ts-expect-error Rooms is missing
        Effect.satisfiesServicesType<Connection.Connection>()(needsRooms)
      ]
    }))

  it("reports a handler that may fail at the handler that states that it does not", () =>
    compiles(() =>
      WebSocketServer.serve(
        // @ts-expect-error Full is possible
        Effect.satisfiesErrorType<never>()(Effect.fail(new Full()))
      )
    ))
})
