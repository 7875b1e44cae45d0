import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Scope } from "effect"
import { Handshake } from "effect-ws"
import { Buffer } from "node:buffer"
import * as Http from "node:http"
import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { ConnectionLimiter } from "../../../src/internal/server/connectionLimiter.ts"
import { makeSessions } from "../../../src/internal/server/sessions.ts"
import { interruptAtEachStep } from "../../support/interruptAtEachStep.ts"

const request = (): Http.IncomingMessage => {
  const message = new Http.IncomingMessage(new Socket())
  const headers = {
    host: "localhost",
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13"
  }
  return Object.assign(message, {
    method: "GET",
    url: "/",
    httpVersion: "1.1",
    httpVersionMajor: 1,
    httpVersionMinor: 1,
    headers,
    rawHeaders: Object.entries(headers).flat()
  })
}

/** Ends its sockets at once. */
const application = { hold: () => {}, giveBack: (socket: Duplex) => void socket.destroy(), claim: () => {} }

describe("Serving", () => {
  for (const decision of [Handshake.accept(), Handshake.reject({ status: 403 })]) {
    it.effect(`gives back the place and the resources of a request interrupted at any step before ${decision._tag}`, () =>
      Effect.gen(function*() {
        const points = yield* interruptAtEachStep(Effect.gen(function*() {
          let held = 0
          const questions = Array.from({ length: 5 }, () => Deferred.makeUnsafe<void>())
          const decide = () =>
            Effect.as(
              Effect.forEach(questions, (question) =>
                Effect.andThen(
                  Effect.acquireRelease(Effect.sync(() => held++), () => Effect.sync(() => held--)),
                  Deferred.await(question)
                )),
              decision
            )
          const serving = yield* makeSessions(
            Effect.void,
            { decide, maxConnections: 1 },
            undefined,
            Duration.seconds(1)
          )
          const admission = new ConnectionLimiter()
          const message = request()
          const scope = Scope.makeUnsafe()
          return {
            effect: serving.upgradeRoute(Context.empty(), message, Buffer.alloc(0), admission, scope, application),
            events: questions.map((question) => () => Deferred.doneUnsafe(question, Effect.void)),
            verify: () =>
              Effect.andThen(
                serving.stop,
                Effect.sync(() => {
                  assert.isTrue(admission.tryAcquire("another", { max: 1 }))
                  assert.strictEqual(held, 0)
                })
              )
          }
        }))
        assert.isAbove(points, 3)
      }))
  }
})
