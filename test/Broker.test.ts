import { assert, describe, it } from "@effect/vitest"
import { Broker } from "effect-ws"
import { hostileValues } from "./support/hostile.ts"

describe("PublishUnknown", () => {
  const messageOf = (idempotencyKey: string | undefined) =>
    new Broker.PublishUnknown({ channel: "room", idempotencyKey, cause: new Error("socket closed") }).message

  it("tells to publish again with the same key, or next time with one", () => {
    const begin = `publish "room": expected a reply of the broker, got: socket closed; the message may be published, `
    assert.strictEqual(messageOf("a"), `${begin}publish it again with the same idempotencyKey, "a"`)
    assert.strictEqual(
      messageOf(undefined),
      `${begin}publish with an idempotencyKey, so that a repetition publishes it once`
    )
  })
})

describe("an error of a broker", () => {
  it("an error of a broker has a message for any cause", () => {
    for (const [name, cause] of hostileValues) {
      const unavailable = new Broker.BrokerUnavailable({ operation: "join", channel: "room", cause })
      assert.include(unavailable.message, `join "room": expected an available broker, got: `, name)
      const unknown = new Broker.PublishUnknown({ channel: "room", idempotencyKey: undefined, cause })
      assert.include(unknown.message, `publish "room": expected a reply of the broker, got: `, name)
    }
  })

  it("names the errors of all addresses that were tried", () => {
    const cause = new AggregateError([
      new Error("connect ECONNREFUSED ::1"),
      new Error("connect ECONNREFUSED 127.0.0.1")
    ])
    assert.include(
      new Broker.BrokerUnavailable({ operation: "publish", channel: "room", cause }).message,
      "got: connect ECONNREFUSED ::1, connect ECONNREFUSED 127.0.0.1; nothing was sent"
    )
  })
})
