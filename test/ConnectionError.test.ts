import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { ConnectionError, Message, ProtocolError } from "effect-ws"
import { hostileValues } from "./support/hostile.ts"

const duration = Duration.seconds(3)

const messages: ReadonlyArray<readonly [error: Error, message: string]> = [
  [
    new ConnectionError.TransportError({ code: "ECONNRESET", cause: new Error("read ECONNRESET") }),
    "the transport failed: read ECONNRESET"
  ],
  [new ConnectionError.TransportError({ code: "EPIPE", cause: new Error("") }), "the transport failed: EPIPE"],
  [new ConnectionError.UnexpectedEof(), "the peer ended the connection without a close frame"],
  [
    new ConnectionError.CloseTimeout({ duration }),
    "the peer did not finish the closing handshake within 3s"
  ],
  [
    new ConnectionError.KeepaliveTimeout({ duration }),
    "the peer sent nothing for 3s after it was asked for a sign of life"
  ],
  [new ConnectionError.MessageAborted(), "a message in fragments failed or was interrupted after its first fragment"],
  [
    new ConnectionError.MessageSkipped(),
    "the rest of this message was skipped; read all its fragments before you receive anything else"
  ],
  [
    new ConnectionError.WriteTimeout({ duration, bufferedAmount: 70_000 }),
    "the peer accepted no data for 3s while 70000 bytes were queued"
  ],
  [new ConnectionError.IdleTimeout({ duration }), "no message was sent or received for 3s"],
  [
    new ConnectionError.SlowConsumer({ bufferedAmount: 70_000 }),
    "the peer reads too slowly: 70000 bytes are buffered"
  ],
  [
    new ConnectionError.ReceiveQueueFull({ unreadAmount: 9, limit: 8 }),
    "receive queue: expected at most 8 bytes to be unread, got 9; " +
    "read the messages faster, have the peer send less, or raise maxUnreadAmount"
  ],
  [
    new ConnectionError.InvalidMessage({
      reason: "Value",
      problem: "Expected number at [\"a\"]",
      received: Message.text("{}"),
      cause: undefined
    }),
    "the peer sent an invalid message: Expected number at [\"a\"]"
  ],
  [new ConnectionError.Terminated(), "this end ended the connection without a close frame"],
  [
    new ConnectionError.InvalidValue({ value: {}, cause: new Error("Expected number\n  at [\"a\"]") }),
    "the value cannot be sent: Expected number at [\"a\"]"
  ],
  [new ConnectionError.InvalidValue({ value: {}, cause: "no" }), "the value cannot be sent: no"],
  [new ConnectionError.NotConnected({ final: false, cause: undefined }), "not connected at the moment"],
  [
    new ConnectionError.NotConnected({ final: true, cause: new ConnectionError.UnexpectedEof() }),
    "not connected, and the client has stopped reconnecting: the peer ended the connection without a close frame"
  ],
  [
    new ConnectionError.ControlPayloadTooLong({ opcode: 8, length: 126 }),
    "close frame: expected at most 125 bytes of payload, got 126"
  ],
  [
    new ConnectionError.InvalidFrame({ opcode: 9, rule: "FragmentedControlFrame" }),
    "ping frame: expected fin to be true, got false; control frames are not fragmented"
  ],
  [
    new ConnectionError.InvalidInput({ what: "message", expected: "a string", received: "null" }),
    "message: expected a string, got null; convert it before you send it"
  ],
  [
    new ConnectionError.TooManyPings({ limit: 100 }),
    "expected at most 100 pings to await pongs, got one more; await each ping, or bound it with Effect.timeout"
  ],
  [
    new ConnectionError.CloseReasonTooLong({ length: 124 }),
    "close reason: expected at most 123 bytes of UTF-8, got 124"
  ],
  [
    new ConnectionError.UnexpectedFragment({ problem: "expected the beginning of a message, got a continuation" }),
    "fragment: expected the beginning of a message, got a continuation"
  ]
]

describe("The message of an error", () => {
  for (const [error, message] of messages) {
    it(`${error.name}: ${message}`, () => assert.strictEqual(error.message, message))
  }

  it("errors have a message for any cause", () => {
    for (const [name, cause] of hostileValues) {
      assert.match(new ConnectionError.InvalidValue({ value: {}, cause }).message, /^the value cannot be sent: /, name)
      // A client may fail with anything in place of a connection, and a program's transport with anything as its error.
      const failed = new ConnectionError.NotConnected<unknown>({ final: false, cause: cause as undefined })
      assert.match(failed.message, /^not connected at the moment/, name)
      const broken = new ConnectionError.TransportError({ code: "EPIPE", cause: cause as Error })
      assert.match(broken.message, /^the transport failed: /, name)
    }
  })

  it("NotConnected says why an attempt failed that failed with no error", () => {
    const { message } = new ConnectionError.NotConnected({ final: true, cause: "no token" })
    assert.strictEqual(message, "not connected, and the client has stopped reconnecting: no token")
  })

  const opcodes = [[0, "continuation"], [1, "text"], [2, "binary"], [8, "close"], [9, "ping"], [10, "pong"]] as const
  for (const [opcode, name] of opcodes) {
    it(`InvalidFrame calls opcode ${opcode} a ${name} frame`, () => {
      const { message } = new ConnectionError.InvalidFrame({ opcode, rule: "ReservedBits" })
      assert.match(message, new RegExp(`^${name} frame: expected reserved to be 0`))
    })
  }
})

describe("ConnectionClosed", () => {
  const frame = (code: number, reason = "") => ({ code, reason })
  const closed = (facts: Partial<ConnectionError.ConnectionClosed>) =>
    new ConnectionError.ConnectionClosed({
      sent: undefined,
      received: undefined,
      closedBy: undefined,
      cause: undefined,
      ...facts
    })

  it("returns the code and the reason of the first close frame", () => {
    const local = closed({ sent: frame(4000, "mine"), received: frame(4001, "theirs"), closedBy: "local" })
    assert.deepStrictEqual([local.code, local.reason, local.clean, local.normal], [4000, "mine", true, false])
    assert.strictEqual(local.message, "the connection was closed by this end with 4000 (Application), \"mine\"")
    const remote = closed({ sent: frame(1000), received: frame(1000), closedBy: "remote" })
    assert.deepStrictEqual([remote.code, remote.reason, remote.clean, remote.normal], [1000, "", true, true])
    assert.strictEqual(remote.message, "the connection was closed by the peer with 1000 (NormalClosure)")
  })

  it("returns the code 1006 and the cause if it was cut off", () => {
    const cut = closed({ cause: new ConnectionError.UnexpectedEof() })
    assert.deepStrictEqual([cut.code, cut.reason, cut.clean, cut.normal], [1006, "", false, false])
    const late = closed({
      sent: frame(1000),
      received: frame(1000),
      closedBy: "local",
      cause: new ConnectionError.CloseTimeout({ duration })
    })
    assert.deepStrictEqual([late.clean, late.normal], [false, false])
  })

  const { CloseTimeout, IdleTimeout, SlowConsumer, Terminated, UnexpectedEof } = ConnectionError
  const ends: ReadonlyArray<readonly [end: Partial<ConnectionError.ConnectionClosed>, message: string]> = [
    [{}, "the connection was lost"],
    [
      { cause: new UnexpectedEof() },
      "the connection was lost: the peer ended the connection without a close frame"
    ],
    [{ cause: new Terminated() }, "the connection was terminated by this end"],
    [
      { received: frame(1005), sent: frame(1005), closedBy: "remote" },
      "the connection was closed by the peer without a close code"
    ],
    [
      { received: frame(4001, "try elsewhere"), sent: frame(4001), closedBy: "remote" },
      "the connection was closed by the peer with 4001 (Application), \"try elsewhere\""
    ],
    [
      { received: frame(1000, "bye"), closedBy: "remote", cause: new Terminated() },
      "the connection was closed by the peer with 1000 (NormalClosure), \"bye\", but this end ended the connection without a close frame"
    ],
    [
      { sent: frame(4000, "bye"), closedBy: "local", cause: new CloseTimeout({ duration }) },
      "the connection was closed by this end with 4000 (Application), \"bye\", but the peer did not finish the closing handshake within 3s"
    ],
    [
      { sent: frame(1008, "SlowConsumer"), closedBy: "local", cause: new SlowConsumer({ bufferedAmount: 9 }) },
      "the connection was closed by this end with 1008 (PolicyViolation): the peer reads too slowly: 9 bytes are buffered"
    ],
    [
      { sent: frame(1000), closedBy: "local", cause: new IdleTimeout({ duration }) },
      "the connection was closed by this end with 1000 (NormalClosure): no message was sent or received for 3s"
    ],
    [
      {
        sent: frame(1002, "MaskedFrame"),
        closedBy: "local",
        cause: new ProtocolError.MaskedFrame()
      },
      `the connection was closed by this end with 1002 (ProtocolError): ${new ProtocolError.MaskedFrame().message}`
    ]
  ]
  for (const [end, message] of ends) it(message, () => assert.strictEqual(closed(end).message, message))

  it("passes isConnectionClosed, also from another copy of the package", () => {
    const copy = Object.assign(new Error("closed"), { _tag: "ConnectionClosed" })
    const values = [closed({}), copy, new ConnectionError.UnexpectedEof(), { _tag: "ConnectionClosed" }, undefined, 1]
    assert.deepStrictEqual(values.map(ConnectionError.isConnectionClosed), [true, true, false, false, false, false])
  })

  it("does not count as clean with a close frame of one end only", () => {
    assert.isFalse(closed({ sent: frame(1000), closedBy: "local" }).clean)
    assert.isFalse(closed({ received: frame(1000), closedBy: "remote" }).clean)
  })
})
