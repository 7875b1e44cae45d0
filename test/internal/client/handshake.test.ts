/** The client's handshake over an exchange in memory. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { acceptKey, type RawHeaders, type Request } from "../../../src/Handshake.ts"
import type { HandshakeRejected } from "../../../src/HandshakeError.ts"
import { type Attempt, negotiate, type Response } from "../../../src/internal/client/handshake.ts"
import type { ConnectOptions } from "../../../src/WebSocketClient.ts"

type Answer = (request: Request) => Omit<Response<string>, "request">

const makeAttempt = (url: string): Attempt & { readonly urls: ReadonlyArray<string> } => {
  const urls = [url]
  return {
    urls,
    url: new URL(url),
    phase: "response",
    rejection: undefined,
    redirect(next) {
      urls.push(next.href)
      this.url = next
    }
  }
}

const noBody = { _tag: "Body", text: () => "", complete: Deferred.makeUnsafe<void>() } as const
Deferred.doneUnsafe(noBody.complete, Exit.void)

const accepting = (headers: RawHeaders = []): Answer => ({ key }) => ({
  status: 101,
  rawHeaders: [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", acceptKey(key)],
    ...headers
  ],
  content: { _tag: "Upgrade", upgrade: "the stream" }
})

const redirecting = (location: string): Answer => () => ({
  status: 307,
  rawHeaders: [["Location", location]],
  content: noBody
})

/** Negotiates with a server that gives these responses in order; records the requests and their options. */
const run = (url: string, answers: ReadonlyArray<Answer>, options: ConnectOptions = {}) => {
  const attempt = makeAttempt(url)
  const requests: Array<Request> = []
  const used: Array<ConnectOptions> = []
  const negotiating = Effect.scoped(negotiate(attempt, options, ({ http1: request }, current) =>
    Effect.sync(() => {
      requests.push(request)
      used.push(current)
      return { request, ...answers[requests.length - 1](request) }
    })))
  return { attempt, requests, used, negotiating }
}

describe("negotiate", () => {
  it.effect("returns the upgrade, the handshake and the subprotocol", () =>
    Effect.gen(function*() {
      const answers = [accepting([["Sec-WebSocket-Protocol", "b"], ["Set-Cookie", "c=1"]])]
      const { attempt, negotiating, requests } = run("ws://a.example/x", answers, { protocols: ["a", "b"] })
      const { extensions, handshake, negotiated, upgrade } = yield* negotiating
      assert.strictEqual(upgrade, "the stream")
      assert.deepStrictEqual(handshake.request, requests[0])
      assert.strictEqual(handshake.subprotocol, "b")
      assert.strictEqual(handshake.responseHeaders["set-cookie"], "c=1")
      assert.deepStrictEqual(handshake.rawResponseHeaders.at(-1), ["Set-Cookie", "c=1"])
      assert.deepStrictEqual([negotiated, extensions], [[], undefined])
      assert.strictEqual(attempt.phase, "extensions")
    }))

  it.effect("follows redirects with a new key each, relative to the last URL", () =>
    Effect.gen(function*() {
      const answers = [redirecting("/b?q=1"), redirecting("c"), accepting()]
      const { attempt, negotiating, requests } = run("ws://a.example/x", answers, { maxRedirects: 2 })
      const { handshake } = yield* negotiating
      assert.deepStrictEqual(attempt.urls, ["ws://a.example/x", "ws://a.example/b?q=1", "ws://a.example/c"])
      assert.deepStrictEqual(handshake.request, requests[2])
      assert.strictEqual(new Set(requests.map(({ key }) => key)).size, 3)
    }))

  it.effect("does not restore the credentials of an origin that a redirect has left", () =>
    Effect.gen(function*() {
      const answers = [redirecting("ws://b.example/"), redirecting("ws://a.example/"), accepting()]
      const options = { maxRedirects: 2, headers: { Authorization: "t" } }
      const { negotiating, requests, used } = run("ws://a.example/", answers, options)
      yield* negotiating
      assert.deepStrictEqual(requests.map(({ headers }) => headers["authorization"]), ["t", undefined, undefined])
      assert.deepStrictEqual(used.map(({ headers }) => headers), [options.headers, {}, {}])
    }))

  for (
    const [maxRedirects, facts] of [
      [0, { _tag: "HandshakeRedirected", status: 307, location: "http://a.example/b" }],
      [1, { _tag: "TooManyRedirects", maxRedirects: 1, location: "http://a.example/b" }]
    ] as const
  ) {
    it.effect(`fails with ${facts._tag} above maxRedirects: ${maxRedirects}`, () =>
      Effect.gen(function*() {
        const answers = Array.from({ length: 3 }, () => redirecting("/b"))
        const { negotiating, requests } = run("ws://a.example/", answers, { maxRedirects })
        assert.deepInclude(yield* Effect.flip(negotiating), facts)
        assert.strictEqual(requests.length, maxRedirects + 1)
      }))
  }

  it.effect("fails with HandshakeRejected once the body is complete, and offers the received part before", () =>
    Effect.gen(function*() {
      let text = "a tok"
      const complete = Deferred.makeUnsafe<void>()
      const rejecting: Answer = () => ({
        status: 401,
        rawHeaders: [],
        content: { _tag: "Body", text: () => text, complete }
      })
      const { attempt, negotiating } = run("ws://a.example/", [rejecting])
      const fiber = yield* Effect.forkChild(Effect.flip(negotiating), { startImmediately: true })
      assert.strictEqual(attempt.rejection?.().body, "a tok")
      assert.isUndefined(fiber.pollUnsafe())
      text += "en is needed"
      Deferred.doneUnsafe(complete, Exit.void)
      const error = (yield* Fiber.join(fiber)) as HandshakeRejected
      assert.deepStrictEqual([error._tag, error.status, error.body], ["HandshakeRejected", 401, "a token is needed"])
    }))

  it.effect("fails with HandshakeRejected without a body for another status that the platform treats as an upgrade", () =>
    Effect.gen(function*() {
      const { attempt, negotiating } = run("ws://a.example/", [
        (request) => ({ ...accepting()(request), status: 403 })
      ])
      const error = (yield* Effect.flip(negotiating)) as HandshakeRejected
      assert.deepStrictEqual([error._tag, error.status, error.body], ["HandshakeRejected", 403, ""])
      assert.strictEqual(attempt.rejection?.().body, "")
    }))

  it.effect("fails with InvalidConnectionHeader for a 101 that the platform does not treat as an upgrade", () =>
    Effect.gen(function*() {
      const { negotiating } = run("ws://a.example/", [(request) => ({ ...accepting()(request), content: noBody })])
      assert.deepInclude(yield* Effect.flip(negotiating), { _tag: "InvalidConnectionHeader", value: "Upgrade" })
    }))

  it.effect("fails for an extension that it did not offer", () =>
    Effect.gen(function*() {
      const { negotiating } = run("ws://a.example/", [accepting([["Sec-WebSocket-Extensions", "mux"]])])
      assert.deepInclude(yield* Effect.flip(negotiating), { _tag: "UnsolicitedExtension", extension: "mux" })
    }))
})
