/** What the Autobahn TestSuite does not ask: cases of our own, in sections with letters. */
import {
  answered,
  begin,
  between,
  binary,
  bytes,
  close,
  closed,
  closePayload,
  continuation,
  echoed,
  type Exchange,
  failed,
  fragments,
  frame,
  hex,
  ping,
  pong,
  refused,
  type Section,
  sized,
  text,
  upTo
} from "../case.ts"
import { opcodes } from "../wire.ts"

const MiB = 1024 * 1024
const hello = text("Hello, world!")

/** Numbers the cases of a section, or of a part of one. */
const number = (
  id: string,
  make: ReadonlyArray<(id: string) => Exchange>
): ReadonlyArray<Exchange> => make.map((one, i) => one(`${id}.${i + 1}`))

// -----------------------------------------------------------------------------
// Opening
// -----------------------------------------------------------------------------

const together = { opening: "with frames" } as const

const opening: Section = {
  id: "O",
  title: "Where the handshake ends",
  cases: number("O", [
    (id) => echoed(id, "the handshake byte by byte", [hello], [hello], { opening: "bytes" }),
    (id) => echoed(id, "text in the segment of the handshake", [hello], [hello], together),
    (id) =>
      echoed(id, "two messages and a ping in the segment of the handshake", [ping("1"), hello, text("2")], [
        pong("1"),
        hello,
        text("2")
      ], together),
    (id) => closed(id, "a close frame in the segment of the handshake", [close(4000)], 4000, [], together),
    (id) => refused(id, "a reserved opcode in the segment of the handshake", [frame(3)], 1002, [], together),
    (id) =>
      answered(
        id,
        "half a frame in the segment of the handshake, the other half later",
        [{ send: [upTo(hello, 6)] }, { quiet: true }, { send: [between(hello, 6, hello.payload.length)] }],
        [hello],
        together
      )
  ])
}

// -----------------------------------------------------------------------------
// Lengths
// -----------------------------------------------------------------------------

const notMinimal = (field: 16 | 64, size: number) => (id: string): Exchange =>
  refused(
    id,
    `a message of ${sized(size)} with its length in ${field} bits`,
    [binary(Buffer.alloc(size), { lengthField: field })],
    1002
  )

const declares = (declared: bigint, name: string, code: number, make: typeof text = binary) => (id: string): Exchange =>
  refused(id, `a header that declares ${name}: refused before the payload`, [upTo(make("", { declared }), 0)], code)

const top = 2n ** 63n
const lengths: Section = {
  id: "L",
  title: "Lengths and limits",
  cases: [
    ...number("L.1", [
      ...[0, 1, 125].map((size) => notMinimal(16, size)),
      ...[0, 125, 126, 65535].map((size) => notMinimal(64, size)),
      (id) => refused(id, "a ping of 5 bytes with its length in 16 bits", [ping("12345", { lengthField: 16 })], 1002),
      (id) =>
        refused(
          id,
          "a close frame with its length in 64 bits",
          [frame(opcodes.close, closePayload(1000), { lengthField: 64 })],
          1002
        ),
      (id) =>
        refused(
          id,
          "a continuation of 5 bytes with its length in 16 bits",
          [text("12345", begin), continuation("12345", { lengthField: 16 })],
          1002
        )
    ]),
    ...number("L.2", [
      declares(2n ** 53n, "2^53 bytes", 1009),
      declares(2n ** 53n, "2^53 bytes of text", 1009, text),
      declares(top - 1n, "2^63 - 1 bytes", 1009),
      declares(top, "2^63 bytes, which is no length (strict: 1002)", 1002),
      declares(2n ** 64n - 1n, "2^64 - 1 bytes, which is no length (strict: 1002)", 1002),
      declares(126n, "a ping of 126 bytes", 1002, ping),
      declares(2n ** 40n, "a ping of 2^40 bytes", 1002, ping),
      declares(126n, "a close frame of 126 bytes", 1002, (payload, options) => frame(opcodes.close, payload, options))
    ]),
    ...number("L.3", [
      (id) =>
        refused(
          id,
          "a header that declares 16 MiB and a byte",
          [
            upTo(binary("", { declared: BigInt(16 * MiB + 1) }), 0)
          ],
          1009,
          [],
          { own: true }
        ),
      (id) =>
        refused(
          id,
          "8 MiB, then a continuation that declares 8 MiB and a byte",
          [binary(Buffer.alloc(8 * MiB), begin), upTo(continuation("", { declared: BigInt(8 * MiB + 1) }), 0)],
          1009,
          [],
          { own: true }
        ),
      (id) => {
        const payload = Buffer.alloc(131_072, "x")
        return echoed(id, "131,072 fragments, the most", fragments(text, payload, 1), [text(payload)], { own: true })
      },
      (id) => refused(id, "131,073 fragments", fragments(text, Buffer.alloc(131_073, "x"), 1), 1008, [], { own: true })
    ])
  ]
}

// -----------------------------------------------------------------------------
// UTF-8
// -----------------------------------------------------------------------------

const word = bytes("κόσμε")

/** Sequences that their last byte makes impossible, and not the one before it. */
const impossible = [
  "80",
  "bf",
  "c0",
  "c1",
  "c2 41",
  "c2 c2",
  "e0 80",
  "e0 9f",
  "e1 41",
  "e2 82 41",
  "e2 82 e2",
  "ed a0",
  "ed bf",
  "ef bf 41",
  "f0 80",
  "f0 8f",
  "f0 9f 98 41",
  "f0 9f 98 c2",
  "f4 90",
  "f4 bf",
  "f5",
  "f8",
  "fe",
  "ff"
]

/** Sequences that more bytes could complete. */
const incomplete = ["c2", "e2", "e2 82", "f0", "f0 9f", "f0 9f 98"]

const rest = bytes("edited")
const chopped = Buffer.concat([word, hex("f4 90"), rest])
const fatal = word.length + 2
const mixed = "aé€😀"

const failFast: Section = {
  id: "U",
  title: "UTF-8, at its first impossible byte",
  cases: [
    ...number(
      "U.1",
      impossible.map((digits) => (id) => {
        const whole = text(Buffer.concat([word, hex(digits), rest]))
        const end = word.length + hex(digits).length
        return failed(
          id,
          `${digits} within a frame: failed at its last byte, and not before`,
          [{ send: [upTo(whole, end - 1)] }, { quiet: true }, { send: [between(whole, end - 1, end)] }],
          1007
        )
      })
    ),
    ...number(
      "U.2",
      Array.from({ length: fatal - 1 }, (_, i) => i + 1).map((at) => (id) => {
        const whole = text(chopped)
        return failed(
          id,
          `a frame in two pieces, the first of ${sized(at)}: failed at byte ${fatal}`,
          [{ send: [upTo(whole, at)] }, { quiet: true }, { send: [between(whole, at, fatal)] }],
          1007
        )
      })
    ),
    ...number(
      "U.3",
      [1, 2, 3, 5, fatal].map((chop) => (id) =>
        refused(
          id,
          `the beginning of a frame, ${sized(chop)} at a time: failed before the rest`,
          [upTo(text(chopped), fatal)],
          1007,
          [],
          { chop }
        )
      )
    ),
    ...number(
      "U.4",
      [1, 2, 3, 5, fatal].map((size) => (id) => {
        const sent = fragments(text, chopped, size).slice(0, Math.ceil(fatal / size))
        return refused(id, `fragments of ${sized(size)}, none of them final: failed at the last`, sent, 1007)
      })
    ),
    ...number(
      "U.5",
      incomplete.flatMap((digits) => [
        (id: string) => refused(id, `text that ends in ${digits}`, [text(Buffer.concat([word, hex(digits)]))], 1007),
        (id: string) =>
          refused(
            id,
            `a fragment that ends in ${digits}, a ping, an empty last fragment`,
            [text(hex(digits), begin), ping(), continuation()],
            1007,
            [pong()]
          )
      ])
    ),
    ...number("U.6", [
      ...[1, 2, 3, 4, 5, 7].map((chop) => (id: string) =>
        echoed(id, `text that is right, ${sized(chop)} at a time`, [text(mixed)], [
          text(mixed)
        ], { chop })
      ),
      (id) => {
        const parts = fragments(text, mixed, 1)
        return echoed(
          id,
          "text that is right, in fragments of a byte, a ping between each two",
          parts.flatMap((part, i) => i === 0 ? [part] : [ping(`${i}`), part]),
          [...parts.slice(1).map((_, i) => pong(`${i + 1}`)), text(mixed)]
        )
      },
      (id) => {
        const message = binary(hex("ff fe c0 80 ed a0 80"))
        return echoed(id, "the same bytes as binary are no matter", [message], [message])
      }
    ])
  ]
}

// -----------------------------------------------------------------------------
// Masks
// -----------------------------------------------------------------------------

const wrong = { wrongMask: true }

const masks: Section = {
  id: "M",
  title: "Masks",
  cases: number("M", [
    (id) => refused(id, "text, masked as it must not be", [text("Hello", wrong)], 1002),
    (id) => refused(id, "empty binary, masked as it must not be", [binary("", wrong)], 1002),
    (id) => refused(id, "a ping, masked as it must not be", [ping("", wrong)], 1002),
    (id) => refused(id, "a close frame, masked as it must not be", [frame(opcodes.close, "", wrong)], 1002),
    (id) => refused(id, "text, then text masked as it must not be", [hello, text("", wrong)], 1002, [hello]),
    (id) => echoed(id, "the key 0", [text("Hello", { key: 0 })], [text("Hello")], { only: "server" }),
    (id) =>
      echoed(
        id,
        "a key for each fragment, byte by byte",
        [text("frag", { ...begin, key: 0xffffffff }), continuation("ments", { key: 0x01020304 })],
        [text("fragments")],
        { only: "server", chop: 1 }
      ),
    (id) => {
      const messages = Array.from({ length: 10 }, (_, i) => text(`${i}`))
      return echoed(id, "ten messages: each comes back with a mask of its own", messages, messages, { only: "client" })
    }
  ])
}

// -----------------------------------------------------------------------------
// Answers
// -----------------------------------------------------------------------------

const thousand = Array.from({ length: 1000 }, (_, i) => (i % 2 === 0 ? text : binary)(`${i}`))
const parts = fragments(binary, Buffer.alloc(1000, 7), 100)

const answers: Section = {
  id: "A",
  title: "Answers, and their order",
  cases: number("A", [
    (id) => echoed(id, "1000 messages in one write", thousand, thousand),
    (id) => echoed(id, "1000 messages, 7 bytes at a time", thousand, thousand, { chop: 7 }),
    (id) =>
      echoed(
        id,
        "ten fragments, a ping and a pong between each two: the pongs come first",
        parts.flatMap((part, i) => [part, ...i < parts.length - 1 ? [ping(`${i}`), pong("unsolicited")] : []]),
        [...parts.slice(1).map((_, i) => pong(`${i}`)), binary(Buffer.alloc(1000, 7))]
      ),
    (id) =>
      failed(
        id,
        "a message, then a fragment without an end and text: what was whole is echoed",
        [{ send: [hello, text("a", begin), text("b")] }],
        1002,
        [hello]
      ),
    (id) =>
      closed(
        id,
        "100 messages and a close frame in one write: all are echoed",
        [...thousand.slice(0, 100), close(1000)],
        1000,
        [
          ...thousand.slice(0, 100)
        ]
      )
  ])
}

// -----------------------------------------------------------------------------
// Close frames
// -----------------------------------------------------------------------------

const goodCodes = [1012, 1013, 1014, 3003, 3008, 3333, 4321]
const badCodes = [
  ...[1, 2, 255, 256, 998],
  ...[1015, 1017, 1050, 1099, 1101, 1500, 1999, 2001, 2500, 2998],
  ...[5001, 9999, 32767, 32768, 65534]
]

const closeFrames: Section = {
  id: "C",
  title: "Close frames",
  cases: [
    ...number("C.1", goodCodes.map((code) => (id) => closed(id, `code ${code} comes back`, [close(code)], code))),
    ...number(
      "C.2",
      badCodes.map((code) => (id) => refused(id, `code ${code}, which may not be sent`, [close(code)], 1002))
    ),
    ...number("C.3", [
      (id) => closed(id, "a close frame byte by byte", [close(1001, "going away")], 1001, [], { chop: 1 }),
      (id) =>
        refused(id, "a close frame of one byte, byte by byte", [frame(opcodes.close, hex("03"))], 1002, [], {
          chop: 1
        }),
      (id) => closed(id, "a reason of 123 bytes beyond ASCII", [close(1000, "€".repeat(41))], 1000),
      ...incomplete.map((digits) => (id: string) =>
        refused(id, `a reason that ends in ${digits}`, [close(1000, hex(digits))], 1007)
      ),
      ...["ed a0 80", "c0 af", "ff"].map((digits) => (id: string) =>
        refused(id, `a reason of ${digits}`, [close(1000, hex(digits))], 1007)
      ),
      (id) => refused(id, "a close frame that is not final", [frame(opcodes.close, closePayload(1000), begin)], 1002),
      (id) => closed(id, "a close frame within a message", [text("a", begin), close(1000)], 1000),
      (id) =>
        closed(
          id,
          "a close frame, then what breaks every rule: ignored",
          [close(1000), frame(3, "x", { rsv: 7 }), text(hex("ff"))],
          1000
        ),
      (id) =>
        closed(
          id,
          "the same, frame by frame",
          [close(1000), frame(3, "x", { rsv: 7 }), text(hex("ff"))],
          1000,
          [],
          { chop: "frames" }
        )
    ])
  ]
}

// -----------------------------------------------------------------------------
// TCP
// -----------------------------------------------------------------------------

/** TCP is ended under a connection that was not closed; it is ended in return, in order and without a close frame. */
const cutOff = (
  about: string,
  send: Parameters<typeof refused>[2],
  frames: Exchange["frames"] = []
) =>
(id: string): Exchange => ({
  kind: "exchange",
  id,
  about,
  steps: [{ send }, { until: frames.length }, { end: true }],
  frames,
  close: "none",
  failed: true
})

const tcp: Section = {
  id: "T",
  title: "The end of TCP",
  cases: number("T", [
    (id) => ({
      ...closed(id, "after the closing handshake a client waits for the server to end TCP (§7.1.1, a SHOULD)", [
        close(1000)
      ], 1000),
      only: "client",
      steps: [{ send: [close(1000)] }, { until: 1 }, { quiet: true }]
    }),
    (id) => ({
      ...closed(id, "a close frame, and the end of TCP right behind it", [], 1000),
      steps: [{ send: [close(1000)] }, { end: true }]
    }),
    cutOff("TCP ends before anything was sent", []),
    cutOff("TCP ends after a message", [hello], [hello]),
    cutOff("TCP ends within a message", [text("a", begin)]),
    cutOff("TCP ends within a frame", [upTo(hello, 5)]),
    cutOff("TCP ends within a header", [upTo(binary(Buffer.alloc(70_000)), 0)])
  ])
}

export const beyond: ReadonlyArray<Section> = [opening, lengths, failFast, masks, answers, closeFrames, tcp]
