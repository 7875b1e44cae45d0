/**
 * The cases of the Autobahn TestSuite by its numbers, but for sections 6 and 9,
 * which have files of their own. What Autobahn calls informational has one
 * strict outcome here, and the case says which.
 */
import {
  answered,
  begin,
  binary,
  close,
  closed,
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
  text
} from "../case.ts"
import { opcodes } from "../wire.ts"

const hello = text("Hello, world!")
const someBytes = hex("00 ff fe fd fc fb 00 ff")

const sizes = [0, 125, 126, 127, 128, 65535, 65536]

const messages = (id: string, make: typeof text, name: string, fill: string | number): ReadonlyArray<Exchange> => {
  const of = (size: number) => make(Buffer.alloc(size, fill))
  const one = (number: number, size: number) =>
    echoed(`${id}.${number}`, `a ${name} message of ${sized(size)}`, [of(size)], [of(size)])
  const last = of(65536)
  return [
    ...sizes.map((size, i) => one(i + 1, size)),
    echoed(`${id}.8`, `a ${name} message of 65536 bytes, 997 at a time`, [last], [last], { chop: 997 })
  ]
}

const framing: Section = {
  id: "1",
  title: "Framing",
  cases: [...messages("1.1", text, "text", "*"), ...messages("1.2", binary, "binary", 0xfe)]
}

const tenPings = Array.from({ length: 10 }, (_, i) => ping(`payload-${i}`))
const tenPongs = tenPings.map(({ payload }) => pong(payload))
const longest = Buffer.alloc(125, 0xfe)

const pings: Section = {
  id: "2",
  title: "Pings and pongs",
  cases: [
    echoed("2.1", "a ping without a payload", [ping()], [pong()]),
    echoed("2.2", "a ping with text", [ping("Hello, world!")], [pong("Hello, world!")]),
    echoed("2.3", "a ping with bytes that are no UTF-8", [ping(someBytes)], [pong(someBytes)]),
    echoed("2.4", "a ping of 125 bytes, the most", [ping(longest)], [pong(longest)]),
    refused("2.5", "a ping of 126 bytes", [ping(Buffer.alloc(126, 0xfe))], 1002),
    echoed("2.6", "a ping of 125 bytes, byte by byte", [ping(longest)], [pong(longest)], { chop: 1 }),
    closed("2.7", "an unsolicited pong", [pong(), close(1000)], 1000),
    closed("2.8", "an unsolicited pong, with a payload", [pong("unsolicited"), close(1000)], 1000),
    echoed("2.9", "an unsolicited pong, then a ping", [pong("unsolicited"), ping("ping")], [pong("ping")]),
    echoed("2.10", "ten pings: a pong for each", tenPings, tenPongs),
    echoed("2.11", "ten pings, byte by byte: a pong for each", tenPings, tenPongs, { chop: 1 })
  ]
}

const reservedBits: Section = {
  id: "3",
  title: "Reserved bits",
  cases: [
    refused("3.1", "text with RSV3", [text("Hello, world!", { rsv: 1 })], 1002),
    refused("3.2", "text; text with RSV2; ping", [hello, { ...hello, rsv: 2 }, ping()], 1002, [hello]),
    refused("3.3", "text; text with RSV2 and RSV3; ping: frame by frame", [hello, { ...hello, rsv: 3 }, ping()], 1002, [
      hello
    ], { chop: "frames" }),
    refused("3.4", "text; text with RSV1; ping: byte by byte", [hello, { ...hello, rsv: 4 }, ping()], 1002, [hello], {
      chop: 1
    }),
    refused("3.5", "binary with RSV1 and RSV3", [binary(someBytes, { rsv: 5 })], 1002),
    refused("3.6", "a ping with RSV1 and RSV2", [ping("Hello, world!", { rsv: 6 })], 1002),
    refused("3.7", "a close frame with all three", [frame(opcodes.close, "", { rsv: 7 })], 1002)
  ]
}

const reservedOpcodes = (id: string, name: string, first: number): ReadonlyArray<Exchange> => {
  const full = "a reserved opcode"
  return [
    refused(`${id}.1`, `${name} opcode ${first}`, [frame(first)], 1002),
    refused(`${id}.2`, `${name} opcode ${first + 1}, with a payload`, [frame(first + 1, full)], 1002),
    refused(`${id}.3`, `text; ${name} opcode ${first + 2}; ping`, [hello, frame(first + 2), ping()], 1002, [hello]),
    refused(
      `${id}.4`,
      `text; ${name} opcode ${first + 3}, with a payload; ping`,
      [hello, frame(first + 3, full), ping()],
      1002,
      [hello]
    ),
    refused(
      `${id}.5`,
      `text; ${name} opcode ${first + 4}, with a payload; ping: byte by byte`,
      [hello, frame(first + 4, full), ping()],
      1002,
      [hello],
      { chop: 1 }
    )
  ]
}

const opcodesSection: Section = {
  id: "4",
  title: "Opcodes",
  cases: [...reservedOpcodes("4.1", "data", 3), ...reservedOpcodes("4.2", "control", 11)]
}

const chops = [
  { chop: "once", how: "" },
  { chop: "frames", how: ": frame by frame" },
  { chop: 1, how: ": byte by byte" }
] as const

const two = [text("fragment1", begin), continuation("fragment2")]
const both = text("fragment1fragment2")
const five = fragments(text, "fragment1fragment2fragment3fragment4fragment5", 9)

const fragmentation: Section = {
  id: "5",
  title: "Fragmentation",
  cases: [
    refused("5.1", "a ping in two fragments", [ping("fragment1", begin), continuation("fragment2")], 1002),
    refused("5.2", "a pong in two fragments", [pong("fragment1", begin), continuation("fragment2")], 1002),
    ...chops.map(({ chop, how }, i) => echoed(`5.${3 + i}`, `text in two fragments${how}`, two, [both], { chop })),
    ...chops.map(({ chop, how }, i) =>
      echoed(
        `5.${6 + i}`,
        `text in two fragments, a ping between them${how}`,
        [two[0], ping("ping"), two[1]],
        [pong("ping"), both],
        { chop }
      )
    ),
    ...[true, false].flatMap((fin, group) =>
      chops.map(({ chop, how }, i) =>
        refused(
          `5.${9 + group * 3 + i}`,
          `a continuation of nothing, ${fin ? "final" : "not final"}; text${how}`,
          [continuation("of nothing", { fin }), hello],
          1002,
          [],
          { chop }
        )
      )
    ),
    refused(
      "5.15",
      "text in two fragments; a continuation of nothing; text",
      [...two, continuation("of nothing", begin), text("fragment4")],
      1002,
      [both]
    ),
    ...[false, true].map((fin, i) => {
      const once = [continuation("of nothing", { fin }), ...two]
      const about = `twice: a continuation of nothing, ${fin ? "final" : "not final"}; text in two fragments`
      return refused(`5.${16 + i}`, about, [...once, ...once], 1002)
    }),
    refused("5.18", "text in two fragments, both with the opcode of text", [two[0], text("fragment2")], 1002),
    ...(["once", "frames"] as const).map((chop, i) =>
      answered(
        `5.${19 + i}`,
        `text in five fragments, two pings between them: the first pong comes before the rest is sent${
          i === 0 ? "" : ": frame by frame"
        }`,
        [
          { send: [five[0], five[1], ping("ping 1")], chop },
          { until: 1 },
          { send: [five[2], five[3], ping("ping 2"), five[4]], chop }
        ],
        [pong("ping 1"), pong("ping 2"), text("fragment1fragment2fragment3fragment4fragment5")]
      )
    )
  ]
}

const valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
const invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]
const notUtf8 = hex("ce ba e1 bd b9 cf 83 ce bc ce b5 ed a0 80 65 64 69 74 65 64")
const quarter = text(Buffer.alloc(256 * 1024, "BAsd7&jh23"))

const closing: Section = {
  id: "7",
  title: "Close handling",
  cases: [
    echoed("7.1.1", "text; then a close frame", [text("Hello World!")], [text("Hello World!")]),
    closed("7.1.2", "two close frames: the second is ignored", [close(1000), frame(opcodes.close)], 1000),
    closed("7.1.3", "a close frame, a ping: no pong", [close(1000), ping()], 1000),
    closed("7.1.4", "a close frame, text: no echo", [close(1000), text("Hello World!")], 1000),
    closed("7.1.5", "a fragment, a close frame, the other fragment: no echo", [two[0], close(1000), two[1]], 1000),
    closed(
      "7.1.6",
      "256 KiB of text, text, a close frame, a ping (strict: the long echo whole, maybe the short one, the close frame)",
      [quarter, text("Hello World!"), close(1000), ping()],
      1000,
      [quarter, text("Hello World!")],
      { enough: 1 }
    ),
    closed("7.3.1", "an empty close frame is answered with one", [frame(opcodes.close)], "without a code"),
    refused("7.3.2", "a close frame of one byte", [frame(opcodes.close, "a")], 1002),
    closed("7.3.3", "a close frame with a code", [close(1000)], 1000),
    closed("7.3.4", "a close frame with a code and a reason", [close(1000, "Hello World!")], 1000),
    closed("7.3.5", "a reason of 123 bytes, the most", [close(1000, Buffer.alloc(123, "*"))], 1000),
    refused("7.3.6", "a reason of 124 bytes", [close(1000, Buffer.alloc(124, "*"))], 1002),
    refused("7.5.1", "a reason that is not UTF-8 (strict: 1007)", [close(1000, notUtf8)], 1007),
    ...valid.map((code, i) => closed(`7.7.${i + 1}`, `code ${code} comes back`, [close(code)], code)),
    ...invalid.map((code, i) => refused(`7.9.${i + 1}`, `code ${code}, which may not be sent`, [close(code)], 1002)),
    ...[5000, 65535].map((code, i) =>
      failed(`7.13.${i + 1}`, `code ${code}, which is invalid (strict: 1002)`, [{ send: [close(code)] }], 1002)
    )
  ]
}

const long = Buffer.alloc(65536, "*")

const miscellany: Section = {
  id: "10",
  title: "Auto-fragmentation",
  cases: [
    echoed("10.1.1", "65536 bytes of text in fragments of 1300", fragments(text, long, 1300), [text(long)])
  ]
}

export const autobahn = { framing, pings, reservedBits, opcodes: opcodesSection, fragmentation, closing, miscellany }
