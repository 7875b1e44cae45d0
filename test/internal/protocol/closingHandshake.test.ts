import { assert, describe, it } from "@effect/vitest"
import { ConnectionError } from "effect-ws"
import { ClosingHandshake } from "../../../src/internal/protocol/closingHandshake.ts"

const ours = { code: 1000, reason: "ours" }
const theirs = { code: 1001, reason: "theirs" }
const eof = new ConnectionError.UnexpectedEof()

describe("ClosingHandshake (RFC 6455 §7.1)", () => {
  it("goes from Open to Closing with one close frame, to Closed with both", () => {
    for (const first of ["local", "remote"] as const) {
      const closing = new ClosingHandshake()
      const steps = [() => closing.send(ours, undefined), () => closing.receive(theirs)]
      const states = (first === "local" ? steps : steps.toReversed()).map((step) => {
        step()
        return closing.state
      })
      assert.deepStrictEqual(states, ["Closing", "Closed"])
      const { cause, closedBy, received, sent } = closing.closed
      assert.deepStrictEqual({ cause, closedBy, received, sent }, {
        cause: undefined,
        closedBy: first,
        received: theirs,
        sent: ours
      })
    }
  })

  it("goes to Closed with its own close frame if the connection has failed", () => {
    const closing = new ClosingHandshake()
    closing.fail(eof)
    assert.strictEqual(closing.state, "Open")
    closing.send(ours, undefined)
    assert.strictEqual(closing.state, "Closed")
    assert.strictEqual(closing.closed.cause, eof)
  })

  it("keeps the first close frame that was sent, and the first cause", () => {
    const closing = new ClosingHandshake()
    closing.send(ours, undefined)
    closing.send({ code: 1011, reason: "late" }, eof)
    closing.fail(new ConnectionError.UnexpectedEof())
    assert.strictEqual(closing.closed.sent, ours)
    assert.strictEqual(closing.closed.cause, eof)
  })

  it("returns the same end once it is Closed", () => {
    const closing = new ClosingHandshake()
    assert.isTrue(closing.cut(eof))
    const { closed } = closing
    assert.isFalse(closing.cut(new ConnectionError.UnexpectedEof()))
    closing.receive(theirs)
    assert.strictEqual(closing.closed, closed)
    assert.deepStrictEqual([closed.cause, closed.received], [eof, undefined])
  })
})
