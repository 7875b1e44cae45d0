import { assert, describe, it } from "@effect/vitest"
import { Broker } from "effect-ws"

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
