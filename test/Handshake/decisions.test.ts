/** Decisions of a server, its subprotocols, and the policy of a program. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { Handshake } from "effect-ws"
import { read, sampleKey, succeed } from "../support/handshakes.ts"

describe("selectProtocol (RFC 6455 §4.2.2)", () => {
  for (
    const [supported, offered, selected] of [
      [["a", "b"], ["b", "a"], "a"],
      [["a", "b"], ["c", "b"], "b"],
      [["a"], ["b"], undefined],
      [["a"], ["A"], undefined],
      [[], ["a"], undefined],
      [["a"], [], undefined]
    ] as const
  ) {
    it(`selects ${selected} of ${supported.join(", ") || "none"}, with ${offered.join(", ") || "none"} offered`, () => {
      assert.strictEqual(Handshake.selectProtocol(supported, offered), selected)
    })
  }
})

class User extends Context.Service<User, string>()("User") {}

describe("decisions", () => {
  it("accept() has no subprotocol, headers or services by default", () => {
    const plain = Handshake.accept()
    assert.strictEqual(plain._tag, "Accept")
    assert.isUndefined(plain.protocol)
    assert.isUndefined(plain.headers)
    assert.deepStrictEqual([...plain.services.mapUnsafe], [])
  })

  it("accept() has the given subprotocol, headers and services", () => {
    const full = Handshake.accept({
      protocol: "chat",
      headers: { "Set-Cookie": ["a=1", "b=2"] },
      services: Context.make(User, "ann")
    })
    assert.strictEqual(full.protocol, "chat")
    assert.deepStrictEqual(full.headers, { "Set-Cookie": ["a=1", "b=2"] })
    assert.strictEqual(Context.get(full.services, User), "ann")
  })

  it("reject() has the given status, headers and body", () => {
    const plain = Handshake.reject({ status: 404 })
    assert.deepStrictEqual({ ...plain }, { _tag: "Reject", status: 404, headers: undefined, body: "" })
    const full = Handshake.reject({ status: 401, headers: { A: "b" }, body: "no" })
    assert.deepStrictEqual({ ...full }, { _tag: "Reject", status: 401, headers: { A: "b" }, body: "no" })
  })
})

describe("the policy", () => {
  it.effect("the default policy makes keys of 16 random bytes, and accepts", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      const keys = Array.from({ length: 1000 }, () => policy.makeKey())
      for (const key of keys) {
        assert.match(key, /^[A-Za-z0-9+/]{21}[AQgw]==$/)
        assert.strictEqual(Buffer.from(key, "base64").length, 16)
      }
      assert.strictEqual(new Set(keys).size, 1000)
      assert.strictEqual(succeed(read({ "Sec-WebSocket-Key": keys[0] })).key, keys[0])
      const decision = yield* policy.decide(succeed(read()))
      assert.strictEqual(decision._tag, "Accept")
      assert.isUndefined(decision._tag === "Accept" ? decision.protocol : "rejected")
      assert.isUndefined(decision.headers)
    }))

  it.effect("layerPolicy replaces the keys", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      assert.strictEqual(policy.makeKey(), sampleKey)
      assert.strictEqual((yield* policy.decide(succeed(read())))._tag, "Accept")
    }).pipe(Effect.provide(Handshake.layerPolicy({ makeKey: () => sampleKey }))))

  it.effect("layerPolicy replaces the decision", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      assert.notStrictEqual(policy.makeKey(), policy.makeKey())
      const decision = yield* policy.decide(succeed(read()))
      assert.strictEqual(decision._tag === "Reject" && decision.body, "/chat")
    }).pipe(
      Effect.provide(
        Handshake.layerPolicy({
          decide: (request) => Effect.succeed(Handshake.reject({ status: 403, body: request.path }))
        })
      )
    ))

  it.effect("layerPolicy without options restores the default", () =>
    Effect.gen(function*() {
      const policy = yield* Handshake.HandshakePolicy
      assert.notStrictEqual(policy.makeKey(), policy.makeKey())
      assert.strictEqual((yield* policy.decide(succeed(read())))._tag, "Accept")
    }).pipe(Effect.provide(Handshake.layerPolicy())))
})
