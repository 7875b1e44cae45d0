import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Logger, Result, Scope } from "effect"
import { Extension, Handshake, PerMessageDeflate } from "effect-ws"
import { type Decide, readUpgrade, runDecision, toAnswer } from "../../../src/internal/server/decision.ts"
import { requestHead } from "../../support/memoryUpgrade.ts"

const anyPath = { origin: "same-origin" as const, path: undefined }
const nothing = { protocols: [], extensions: [] }
const request = Result.getOrThrow(readUpgrade(requestHead(), anyPath))

const statusOf = (result: Result.Result<unknown, Handshake.HttpResponse>) =>
  Result.isFailure(result) ? result.failure.status : undefined

describe("readUpgrade", () => {
  it("reads a handshake", () => {
    assert.deepInclude(request, { path: "/", host: "localhost", remoteAddress: "192.0.2.7" })
  })

  it("fails with the response to the first violated rule", () => {
    const withOrigin = requestHead({ rawHeaders: [...requestHead().rawHeaders, ["Origin", "http://evil.example"]] })
    assert.strictEqual(statusOf(readUpgrade(requestHead({ isTruncated: true, method: "POST" }), anyPath)), 431)
    assert.strictEqual(statusOf(readUpgrade(requestHead({ method: "POST" }), anyPath)), 405)
    assert.strictEqual(statusOf(readUpgrade(withOrigin, { ...anyPath, path: "/other" })), 403)
    assert.strictEqual(statusOf(readUpgrade(requestHead(), { ...anyPath, path: "/other" })), 404)
    assert.strictEqual(
      statusOf(readUpgrade(requestHead({ target: "/other?a=1" }), { ...anyPath, path: "/other" })),
      undefined
    )
  })
})

describe("runDecision", () => {
  const run = (decide: Decide | undefined, context = Context.empty()) =>
    runDecision(decide, context, request, Scope.makeUnsafe())

  it("returns the exit of a decision that does not suspend", () => {
    const immediate: ReadonlyArray<Decide> = [
      () => Effect.succeed(Handshake.accept()),
      () => Effect.sync(() => Handshake.accept())
    ]
    for (const decide of immediate) assert.deepStrictEqual(run(decide), Exit.succeed(Handshake.accept()))
  })

  it("returns the defect of a function that throws", () => {
    const defect = new Error("thrown on purpose")
    assert.deepStrictEqual(
      run(() => {
        throw defect
      }),
      Exit.die(defect)
    )
  })

  it("runs the HandshakePolicy of the context without decide", () => {
    const rejected = Handshake.reject({ status: 401 })
    const policy = Handshake.makePolicy({ decide: () => Effect.succeed(rejected) })
    assert.deepStrictEqual(run(undefined, Context.make(Handshake.HandshakePolicy, policy)), Exit.succeed(rejected))
  })

  it.effect("returns the fiber of a decision that suspends", () =>
    Effect.gen(function*() {
      const answer = yield* Deferred.make<Handshake.Decision>()
      const fiber = run(() => Deferred.await(answer))
      if (Exit.isExit(fiber)) return assert.fail("expected a fiber")
      yield* Deferred.succeed(answer, Handshake.accept())
      assert.deepStrictEqual(yield* Fiber.join(fiber), Handshake.accept())
    }))
})

describe("toAnswer", () => {
  const loggingTo = (logged: Array<unknown>) =>
    Context.make(Logger.CurrentLoggers, new Set([Logger.make(({ message }) => void logged.push(message))]))

  it("accepts with the protocol, the extensions and the services", () => {
    const offered = { ...request, protocols: ["v1", "v2"], extensions: Extension.parse("permessage-deflate")! }
    const answer = toAnswer(
      { protocols: ["v2"], extensions: [PerMessageDeflate.make()] },
      Context.empty(),
      offered,
      Exit.succeed(Handshake.accept())
    )
    if (Result.isFailure(answer)) return assert.fail(`rejected with ${answer.failure.status}`)
    const { accepted, negotiated, response } = answer.success
    assert.deepStrictEqual([accepted.protocol, negotiated.length, response.status], ["v2", 1, 101])
  })

  it("fails with the response of a rejection, as a success or as a failure", () => {
    const rejected = Handshake.reject({ status: 403 })
    for (const exit of [Exit.succeed(rejected), Exit.fail(rejected)]) {
      assert.strictEqual(statusOf(toAnswer(nothing, Context.empty(), request, exit)), 403)
    }
  })

  it("logs a defect or an invalid response, and fails with 500", () => {
    const exits = [
      Exit.die("on purpose"),
      Exit.succeed(Handshake.accept({ protocol: "not offered" })),
      Exit.succeed(Handshake.reject({ status: 200 }))
    ]
    const logged: Array<unknown> = []
    for (const exit of exits) {
      assert.strictEqual(statusOf(toAnswer(nothing, loggingTo(logged), request, exit)), 500)
    }
    assert.strictEqual(logged.length, exits.length)
  })
})
