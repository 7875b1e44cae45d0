import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Result, Scope } from "effect"
import { Handshake } from "effect-ws"
import { Buffer } from "node:buffer"
import * as Http from "node:http"
import { Socket } from "node:net"
import { Admission } from "../../src/internal/admission.ts"
import { makeServing } from "../../src/internal/serving.ts"
import { interruptAtEachStep } from "../support/steps.ts"

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

describe("Serving", () => {
  for (const decision of [Handshake.accept(), Handshake.reject({ status: 403 })]) {
    it.effect(`gives back the place and the resources of a request interrupted at any step before ${decision._tag}`, () =>
      Effect.gen(function*() {
        const points = yield* interruptAtEachStep(Effect.gen(function*() {
          let held = 0
          const decide = () =>
            Effect.yieldNow.pipe(
              Effect.andThen(
                // What is released later, in another fiber, does not go by the steps of this one.
                Effect.uninterruptible(Effect.flatMap(Effect.scope, (scope) => {
                  held++
                  return Scope.addFinalizer(scope, Effect.sync(() => held--))
                }))
              ),
              Effect.andThen(Effect.yieldNow),
              Effect.as(decision)
            )
          const serving = yield* makeServing(
            Effect.void,
            { decide, maxConnections: 1 },
            undefined,
            Duration.seconds(1)
          )
          const admission = new Admission()
          const message = request()
          return {
            effect: serving.take(
              Context.empty(),
              message,
              admission,
              Scope.makeUnsafe(),
              () => Result.succeed(Buffer.alloc(0))
            ),
            events: [],
            verify: () =>
              Effect.andThen(
                serving.stop,
                Effect.sync(() => {
                  assert.isTrue(admission.enter("another", { max: 1 }))
                  assert.strictEqual(held, 0)
                })
              )
          }
        }))
        assert.isAbove(points, 3)
      }))
  }
})
