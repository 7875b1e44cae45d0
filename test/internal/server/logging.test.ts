import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Logger, References } from "effect"
import { ConnectionError } from "effect-ws"
import type { ConnectionImpl } from "../../../src/internal/connection/connection.ts"
import { logDecisionDefect, logFinalizerDefect, logHandlerFailure } from "../../../src/internal/server/logging.ts"

const request = { path: "/chat", remoteAddress: "192.0.2.1", key: "a key" }

/** A connection of which every error is the expected end, or none. */
const connection = (isExpectedEnd: boolean, code?: number, span?: { traceId: string; spanId: string }) =>
  ({ request, span, closing: { code, isExpectedEnd: () => isExpectedEnd } }) as unknown as ConnectionImpl

/** Runs an effect, and returns the records that it logged at any level. */
const recordsOf = (effect: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const records: Array<Record<string, unknown>> = []
    const logger = Logger.map(Logger.formatStructured, ({ annotations, level, message }) => {
      records.push({ level, message, ...annotations })
    })
    yield* effect.pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "All")
    )
    return records
  })

const closed = (cause?: ConnectionError.ClosedCause) =>
  new ConnectionError.ConnectionClosed({ sent: undefined, received: undefined, closedBy: undefined, cause })

describe("logHandlerFailure", () => {
  const annotations = { "url.path": "/chat", "client.address": "192.0.2.1", "websocket.key": "a key" }

  it.effect("logs an error, with 1011 while the connection is open", () =>
    Effect.gen(function*() {
      const records = yield* recordsOf(logHandlerFailure(connection(false), Cause.fail("on purpose")))
      assert.deepStrictEqual(records, [
        { level: "ERROR", message: "a WebSocket handler failed", ...annotations, "websocket.close.code": 1011 }
      ])
    }))

  it.effect("logs at level debug if the handler ended with its connection, whatever ended that", () =>
    Effect.gen(function*() {
      for (const cause of [undefined, new ConnectionError.UnexpectedEof()]) {
        const records = yield* recordsOf(logHandlerFailure(connection(true, 1000), Cause.fail(closed(cause))))
        assert.deepStrictEqual(records.map(({ level, message }) => [level, message]), [
          ["DEBUG", "a WebSocket handler ended with its connection"]
        ])
      }
    }))

  it.effect("logs a warning that tells the problem of an invalid message", () =>
    Effect.gen(function*() {
      const invalid = new ConnectionError.InvalidMessage({
        reason: "Type",
        problem: "Expected text",
        received: undefined as never,
        cause: undefined
      })
      const records = yield* recordsOf(logHandlerFailure(connection(true, 1003), Cause.die(closed(invalid))))
      assert.deepStrictEqual(records.map(({ level, message }) => [level, message]), [
        ["WARN", "a WebSocket peer sent an invalid message: Expected text"]
      ])
    }))

  it.effect("names the span of the connection", () =>
    Effect.gen(function*() {
      const span = { traceId: "t", spanId: "s" }
      const [record] = yield* recordsOf(logHandlerFailure(connection(false, 4000, span), Cause.die("on purpose")))
      assert.deepInclude(record, { "trace.id": "t", "span.id": "s", "websocket.close.code": 4000 })
    }))
})

describe("logFinalizerDefect and logDecisionDefect", () => {
  it.effect("logs an error with the request, without its key or address if it has none", () =>
    Effect.gen(function*() {
      const [finalizer] = yield* recordsOf(logFinalizerDefect(connection(false), Cause.die("on purpose")))
      assert.deepInclude(finalizer, { level: "ERROR", message: "a finalizer of a WebSocket handler died" })
      const bare = { path: "/", remoteAddress: undefined, key: "" } as Parameters<typeof logDecisionDefect>[0]
      const decision = yield* recordsOf(logDecisionDefect(bare, Cause.die("on purpose")))
      assert.deepStrictEqual(decision, [
        { level: "ERROR", message: "the decision about a WebSocket request died", "url.path": "/" }
      ])
    }))
})
