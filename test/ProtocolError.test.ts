import { assert, describe, it } from "@effect/vitest"
import { CloseCode, ProtocolError } from "effect-ws"

const compression = "it may be compressing without having negotiated permessage-deflate"
const usable = "close frame: expected a code from 1000 to 1003, 1007 to 1014 or 3000 to 4999"

const table: ReadonlyArray<readonly [error: ProtocolError.ProtocolError, closeCode: number, message: string]> = [
  [
    new ProtocolError.ReservedBits({ reserved: 4, allowed: 0 }),
    1002,
    `the peer set RSV1, which no negotiated extension uses; ${compression}`
  ],
  [
    new ProtocolError.ReservedBits({ reserved: 2, allowed: 0 }),
    1002,
    `the peer set RSV2, which no negotiated extension uses; ${compression}`
  ],
  [
    new ProtocolError.ReservedBits({ reserved: 1, allowed: 0 }),
    1002,
    `the peer set RSV3, which no negotiated extension uses; ${compression}`
  ],
  [
    new ProtocolError.ReservedBits({ reserved: 7, allowed: 4 }),
    1002,
    `the peer set RSV2 and RSV3, which no negotiated extension uses; ${compression}`
  ],
  [
    new ProtocolError.ReservedOpcode({ opcode: 11 }),
    1002,
    "the peer sent a frame with the reserved opcode 11; opcodes are 0, 1, 2, 8, 9 and 10"
  ],
  [
    new ProtocolError.UnmaskedFrame(),
    1002,
    "the client sent a frame without a mask; a client must mask every frame"
  ],
  [new ProtocolError.MaskedFrame(), 1002, "the server sent a masked frame; a server must not mask"],
  [
    new ProtocolError.FragmentedControlFrame({ opcode: 9 }),
    1002,
    "the peer sent a fragmented control frame (opcode 9); control frames must not be fragmented"
  ],
  [
    new ProtocolError.ControlFrameTooLong({ opcode: 10 }),
    1002,
    "the peer sent a control frame (opcode 10) of more than 125 bytes, the maximum"
  ],
  [
    new ProtocolError.NonMinimalLength({ length: 125, bits: 16 }),
    1002,
    "the peer wrote the payload length 125 in 16 bits; the shortest form must be used"
  ],
  [
    new ProtocolError.NonMinimalLength({ length: 65535, bits: 64 }),
    1002,
    "the peer wrote the payload length 65535 in 64 bits; the shortest form must be used"
  ],
  [
    new ProtocolError.LengthOutOfRange({ length: 2n ** 53n }),
    1009,
    "the peer declared a payload of 9007199254740992 bytes, more than 2^53 - 1"
  ],
  [
    new ProtocolError.LengthOutOfRange({ length: 2n ** 63n - 1n }),
    1009,
    "the peer declared a payload of 9223372036854775807 bytes, more than 2^53 - 1"
  ],
  [
    new ProtocolError.LengthOutOfRange({ length: 2n ** 63n }),
    1002,
    "the peer declared a payload of 9223372036854775808 bytes, more than 2^53 - 1"
  ],
  [
    new ProtocolError.FrameTooLarge({ length: 1001, limit: 1000 }),
    1009,
    "the peer sent a frame of 1001 bytes, over the limit of 1000; raise maxFrameSize of the decoder or the codec, or have the peer send less"
  ],
  [
    new ProtocolError.UnexpectedContinuation(),
    1002,
    "the peer sent a continuation frame, but no message has begun"
  ],
  [
    new ProtocolError.UnfinishedMessage({ opcode: 2 }),
    1002,
    "the peer began a new message (opcode 2) before the last fragment of the previous one"
  ],
  [
    new ProtocolError.InvalidUtf8({ where: "text message", offset: 12 }),
    1007,
    "the peer sent a text message that is not UTF-8 at byte 12; send such data as binary"
  ],
  [
    new ProtocolError.InvalidUtf8({ where: "close reason", offset: 0 }),
    1007,
    "the peer sent a close reason that is not UTF-8 at byte 0; send such data as binary"
  ],
  [
    new ProtocolError.MessageTooLarge({ size: 17, limit: 16 }),
    1009,
    "the peer sent a message of at least 17 bytes, over the limit of 16; raise maxMessageSize, or have the peer send less"
  ],
  [
    new ProtocolError.TooManyFragments({ limit: 3 }),
    1008,
    "the peer sent a message in more than 3 fragments; raise maxFragments, or have the peer send larger ones"
  ],
  [
    new ProtocolError.InvalidExtensionData({ extension: "permessage-deflate", problem: "invalid block type" }),
    1007,
    "the peer sent data that permessage-deflate cannot decode: invalid block type"
  ],
  [
    new ProtocolError.CloseFrameTooShort(),
    1002,
    "the peer sent a close frame of one byte; expected none, or a code of two bytes"
  ],
  [
    new ProtocolError.InvalidCloseCode({ code: 1005 }),
    1002,
    `${usable}, got 1005 (NoStatusReceived)`
  ],
  [
    new ProtocolError.InvalidCloseCode({ code: 2000 }),
    1002,
    `${usable}, got 2000 (Unassigned)`
  ]
]

describe("each error", () => {
  for (const [error, , message] of table) {
    it(`says: ${message}`, () => {
      assert.strictEqual(error.message, message)
      assert.strictEqual(String(error), `${error._tag}: ${message}`)
    })
  }

  it("extends Error", () => {
    for (const [error] of table) assert.instanceOf(error, Error)
  })
})

describe("closeCode (RFC 6455 §7.4.1)", () => {
  for (const [error, closeCode, message] of table) {
    it(`answers ${error._tag} with ${closeCode}: ${message}`, () => {
      assert.strictEqual(ProtocolError.closeCode(error), closeCode)
    })
  }

  it("gives a code that may be on the wire", () => {
    for (const [error] of table) assert.isTrue(CloseCode.isSendable(ProtocolError.closeCode(error)), error._tag)
  })

  it("exists for each error", () => {
    const errors = Object.keys(ProtocolError).filter((name) => name !== "closeCode").toSorted()
    assert.deepStrictEqual([...new Set<string>(table.map(([error]) => error._tag))].toSorted(), errors)
  })
})
