import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Connection, Frame, Handshake, type WebSocketServer } from "effect-ws"
import * as Testing from "effect-ws/Testing"
import { ConnectionLimiter } from "../../../src/internal/server/connectionLimiter.ts"
import { makeSessions } from "../../../src/internal/server/sessions.ts"
import { interruptAtEachStep } from "../../support/interruptAtEachStep.ts"
import { memoryUpgrade } from "../../support/memoryUpgrade.ts"
import { eventually } from "../../support/resources.ts"

const idle = Effect.flatMap(Connection.Connection, ({ closed }) => closed)

/** A decision that suspends until `answer` is completed, and reports its interruption. */
const pendingDecision = () => {
  const state = { interrupted: false }
  const answer = Deferred.makeUnsafe<Handshake.Decision>()
  const decide = () =>
    Effect.onInterrupt(Deferred.await(answer), () =>
      Effect.sync(() => {
        state.interrupted = true
      }))
  return { answer, decide, state }
}

const sessionsOf = (
  options: WebSocketServer.ServeOptions,
  handler: Effect.Effect<unknown, never, Connection.Connection> = idle
) => makeSessions(handler, options, undefined, Duration.seconds(5))

describe("Sessions.serve", () => {
  it.effect("accepts a request and runs the handler in its connection", () =>
    Effect.gen(function*() {
      const sessions = yield* sessionsOf({})
      const { client, upgrade } = yield* memoryUpgrade()
      const peer = yield* Testing.makePeer(client, "client")
      sessions.serve(yield* Effect.context<never>(), upgrade, 0)
      assert.deepStrictEqual(upgrade.calls, [101])
      assert.strictEqual(sessions.connections.length, 1)
      yield* peer.send(Frame.close(1000))
      assert.strictEqual((yield* peer.receive).opcode, Frame.Opcode.Close)
      yield* eventually(() => sessions.connections.length === 0)
    }))

  it.effect("rejects a request that is no handshake without asking decide", () =>
    Effect.gen(function*() {
      let asked = 0
      const sessions = yield* sessionsOf({ decide: () => Effect.sync(() => (asked++, Handshake.accept())) })
      for (const [head, status] of [[{ method: "POST" }, 405], [{ isTruncated: true }, 431]] as const) {
        const { upgrade } = yield* memoryUpgrade(head)
        sessions.serve(Context.empty(), upgrade, 0)
        assert.deepStrictEqual(upgrade.calls, [status])
      }
      assert.strictEqual(asked, 0)
    }))

  it.effect("rejects requests above maxConnections with 503, until a connection ends", () =>
    Effect.gen(function*() {
      const sessions = yield* sessionsOf({ maxConnections: 1 })
      const first = yield* memoryUpgrade()
      sessions.serve(Context.empty(), first.upgrade, 0)
      const second = yield* memoryUpgrade()
      sessions.serve(Context.empty(), second.upgrade, 0)
      assert.deepStrictEqual([first.upgrade.calls, second.upgrade.calls], [[101], [503]])
      first.reset()
      yield* eventually(() => sessions.connections.length === 0)
      const third = yield* memoryUpgrade()
      yield* eventually(() => {
        sessions.serve(Context.empty(), third.upgrade, 0)
        return third.upgrade.calls.includes(101)
      })
    }))

  it.effect("interrupts the decision and abandons the request when the client leaves", () =>
    Effect.gen(function*() {
      const { decide, state } = pendingDecision()
      const sessions = yield* sessionsOf({ decide })
      const { upgrade } = yield* memoryUpgrade()
      sessions.serve(Context.empty(), upgrade, 0)
      assert.isTrue(upgrade.isWatched)
      upgrade.leave()
      yield* eventually(() => upgrade.calls.length > 0)
      assert.deepStrictEqual([upgrade.calls, state.interrupted, upgrade.isWatched], [["abandoned"], true, false])
    }))

  it.effect("destroys and abandons an accepted request if its client has left without a close event yet", () =>
    Effect.gen(function*() {
      const { answer, decide } = pendingDecision()
      const sessions = yield* sessionsOf({ decide })
      const { upgrade } = yield* memoryUpgrade()
      sessions.serve(Context.empty(), upgrade, 0)
      upgrade.hasClientLeft = true
      yield* Deferred.succeed(answer, Handshake.accept())
      yield* eventually(() => upgrade.calls.length > 0)
      assert.deepStrictEqual(upgrade.calls, ["destroyed", "abandoned"])
    }))

  it.effect("destroys and abandons the request of a client that has left before the decision", () =>
    Effect.gen(function*() {
      let asked = 0
      const sessions = yield* sessionsOf({ decide: () => Effect.sync(() => (asked++, Handshake.accept())) })
      const { upgrade } = yield* memoryUpgrade()
      upgrade.hasClientLeft = true
      sessions.serve(Context.empty(), upgrade, 0)
      assert.deepStrictEqual([upgrade.calls, asked], [["destroyed", "abandoned"], 0])
    }))

  it.effect("rejects with 503 when the decision takes longer than handshakeTimeout minus the time of the head", () =>
    Effect.gen(function*() {
      const { decide, state } = pendingDecision()
      const sessions = yield* sessionsOf({ decide })
      const { upgrade } = yield* memoryUpgrade()
      sessions.serve(yield* Effect.context<never>(), upgrade, 2000)
      yield* TestClock.adjust("2999 millis")
      assert.deepStrictEqual(upgrade.calls, [])
      yield* TestClock.adjust("1 milli")
      yield* eventually(() => upgrade.calls.length > 0)
      assert.deepStrictEqual([upgrade.calls, state.interrupted], [[503], true])
    }))
})

describe("a session whose transport closes while it starts", () => {
  /** A request whose transport reports its end as soon as it is started. */
  const endingUpgrade = Effect.map(memoryUpgrade(), ({ upgrade }) => {
    const accept = upgrade.accept.bind(upgrade)
    upgrade.accept = (request, response) => {
      const transport = accept(request, response)
      return { ...transport, start: (receiver) => receiver.onClose(undefined) }
    }
    return upgrade
  })

  it.effect("interrupts a handler that did not use the connection, and ends", () =>
    Effect.gen(function*() {
      let interrupted = false
      const handler = Effect.onInterrupt(Effect.never, () =>
        Effect.sync(() => {
          interrupted = true
        }))
      const sessions = yield* sessionsOf({}, handler)
      const upgrade = yield* endingUpgrade
      sessions.serve(yield* Effect.context<never>(), upgrade, 0)
      yield* eventually(() => sessions.connections.length === 0)
      assert.deepStrictEqual([upgrade.calls, interrupted], [[101], true])
    }))
})

describe("Sessions.stop", () => {
  it.effect("rejects requests without a decision, closes connections, and waits for their handlers", () =>
    Effect.gen(function*() {
      const { answer, decide, state } = pendingDecision()
      const finish = yield* Deferred.make<void>()
      const sessions = yield* sessionsOf({
        decide: (request) => request.path === "/" ? Effect.succeed(Handshake.accept()) : decide()
      }, Effect.andThen(idle, Deferred.await(finish)))
      const open = yield* memoryUpgrade()
      const peer = yield* Testing.makePeer(open.client, "client")
      const undecided = yield* memoryUpgrade({ target: "/later" })
      for (const { upgrade } of [open, undecided]) sessions.serve(Context.empty(), upgrade, 0)
      const stopping = yield* Effect.forkChild(sessions.stop, { startImmediately: true })
      const close = yield* peer.receive
      assert.deepStrictEqual(Frame.readClose(close.payload), { code: 1001, reason: "" })
      yield* peer.send(close)
      yield* peer.destroy
      yield* eventually(() => undecided.upgrade.calls.length > 0)
      assert.deepStrictEqual([undecided.upgrade.calls, state.interrupted], [[503], true])
      assert.isUndefined(stopping.pollUnsafe())
      yield* Deferred.succeed(finish, undefined)
      yield* eventually(() => stopping.pollUnsafe() !== undefined)
      assert.isFalse(yield* Deferred.isDone(answer))
    }))
})

describe("Sessions.serveRoute", () => {
  for (const decision of [Handshake.accept(), Handshake.reject({ status: 403 })]) {
    it.effect(`releases the limit and the resources of a request interrupted at each step before ${decision._tag}`, () =>
      Effect.gen(function*() {
        const points = yield* interruptAtEachStep(Effect.gen(function*() {
          let acquired = 0
          const questions = Array.from({ length: 5 }, () => Deferred.makeUnsafe<void>())
          const decide = () =>
            Effect.as(
              Effect.forEach(questions, (question) =>
                Effect.andThen(
                  Effect.acquireRelease(Effect.sync(() => acquired++), () => Effect.sync(() => acquired--)),
                  Deferred.await(question)
                )),
              decision
            )
          const sessions = yield* makeSessions(
            Effect.void,
            { decide, maxConnections: 1 },
            undefined,
            Duration.seconds(1)
          )
          const limiter = new ConnectionLimiter()
          const scope = Scope.makeUnsafe()
          let respond = () => {}
          const { reset, upgrade } = yield* memoryUpgrade({}, () => respond())
          return {
            effect: Effect.callback<void>((resume) => {
              respond = () => {
                resume(Effect.void)
                reset()
              }
              return sessions.serveRoute(Context.empty(), upgrade, limiter, scope)?.interruptDecision
            }),
            events: questions.map((question) => () => Deferred.doneUnsafe(question, Effect.void)),
            verify: () =>
              Effect.andThen(
                sessions.stop,
                Effect.sync(() => {
                  assert.isTrue(limiter.tryAcquire("192.0.2.8", { max: 1 }))
                  assert.strictEqual(acquired, 0)
                })
              )
          }
        }))
        assert.isAbove(points, 3)
      }))
  }
})

describe("makeSessions", () => {
  it.effect("fails with InvalidOption for an invalid option", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(sessionsOf({ maxConnections: NaN }))
      assert.deepInclude(error, { _tag: "InvalidOption", option: "maxConnections" })
      assert.isTrue(Exit.isFailure(yield* Effect.exit(makeSessions(idle, {}, undefined, 0))))
    }))
})
