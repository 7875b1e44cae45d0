/** Codes of the client protocol, and the texts of its errors. */
import { assert, describe, it } from "@effect/vitest"
import { TopicError } from "effect-ws"

describe("codes", () => {
  it("codes are those of Centrifuge, and one of our own", () => {
    const { Code, DisconnectCode, UnsubscribeCode } = TopicError
    assert.deepStrictEqual(Object.values(Code), [...Array.from({ length: 13 }, (_, i) => 100 + i), 1100])
    assert.deepStrictEqual(
      Object.values(DisconnectCode).map((code) => code - 3000),
      [0, 1, 4, 5, 6, 8, 10, 11, 12, 13, 500, 501, 502, 503, 504, 505, 506, 507, 508]
    )
    assert.deepStrictEqual(Object.values(UnsubscribeCode), [2000, 2500, 2501])
  })

  it("returns the reasons that clients of Centrifuge know", () => {
    const reasons = [
      100,
      101,
      103,
      107,
      109,
      111,
      112,
      2000,
      2500,
      2501,
      3004,
      3005,
      3012,
      3013,
      3500,
      3501,
      3502,
      3506
    ]
    assert.deepStrictEqual(reasons.map(TopicError.reasonOf), [
      "internal server error",
      "unauthorized",
      "permission denied",
      "bad request",
      "token expired",
      "too many requests",
      "unrecoverable position",
      "server unsubscribe",
      "insufficient state",
      "subscription expired",
      "internal server error",
      "connection expired",
      "no pong",
      "too many requests",
      "invalid token",
      "bad request",
      "stale",
      "inappropriate protocol"
    ])
    assert.strictEqual(TopicError.reasonOf(4000), "")
  })

  it("tells whether clients reconnect", () => {
    const codes = [1000, 1006, 3000, 3499, 3500, 3999, 4000, 4499, 4500, 4999, 5000]
    assert.deepStrictEqual(codes.filter(TopicError.reconnects), [1000, 1006, 3000, 3499, 4000, 4499, 5000])
  })
})

describe("errors", () => {
  it("name the code and the reason", () => {
    assert.strictEqual(
      new TopicError.Rejected({ code: 103 }).message,
      "the server rejected a command with 103 (permission denied)"
    )
    assert.strictEqual(new TopicError.Rejected({ code: 400 }).message, "the server rejected a command with 400")
    assert.strictEqual(
      new TopicError.Disconnect({ code: 4000, reason: "again" }).message,
      "the server disconnected the client with 4000 (again)"
    )
    assert.strictEqual(
      new TopicError.Disconnect({ code: 4001 }).message,
      "the server disconnected the client with 4001"
    )
    assert.include(new TopicError.Unanswered({ command: "rpc", reason: "Timeout" }).message, "got nothing in time")
    assert.include(
      new TopicError.Unanswered({ command: "rpc", reason: "ConnectionLost" }).message,
      "got the end of the connection"
    )
    assert.include(
      new TopicError.Unsubscribed({ channel: "a", code: 2000, reason: "server unsubscribe" }).message,
      "with 2000 (server unsubscribe)"
    )
  })

  it("tells temporary errors by their flag or their code", () => {
    const temporary = (code: number, value?: boolean) =>
      TopicError.isTemporary(new TopicError.Rejected({ code, temporary: value }))
    assert.deepStrictEqual([
      temporary(100),
      temporary(111),
      temporary(103),
      temporary(103, true),
      temporary(100, false)
    ], [
      true,
      true,
      false,
      true,
      false
    ])
  })
})
