/** Servers for a client to connect to, and what tests ask of them. */
import { assert } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { Handshake, WebSocketClient } from "effect-ws"
import type { tls } from "./certificates.ts"
import { contentOf } from "./memory.ts"
import { serve } from "./net.ts"
import { echo } from "./serving.ts"

export const failure = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.flip(Effect.scoped(effect))

/** Sends a word to an echo server, and returns the request of the handshake. */
export const visit = (url: string, options?: WebSocketClient.ConnectOptions) =>
  Effect.scoped(Effect.gen(function*() {
    const connection = yield* WebSocketClient.connect(url, options)
    yield* connection.send("hello")
    assert.strictEqual(contentOf(yield* connection.receive), "hello")
    return connection.request
  }))

/** A server that redirects these paths, and echoes at all others. It records the requests. */
export const redirecting = (
  locations: Readonly<Record<string, string>>,
  options?: { readonly tls?: typeof tls; readonly socketPath?: string; readonly status?: number }
) =>
  Effect.gen(function*() {
    const requests: Array<Handshake.Request> = []
    const server = yield* serve(echo, {
      ...options?.tls === undefined ? {} : { tls: options.tls },
      ...options?.socketPath === undefined ? {} : { socketPath: options.socketPath },
      serve: {
        decide: (request) =>
          Effect.sync(() => {
            requests.push(request)
            const location = locations[request.path]
            return location === undefined
              ? Handshake.accept()
              : Handshake.reject({ status: options?.status ?? 307, headers: { Location: location } })
          })
      }
    })
    return { ...server, requests }
  })
