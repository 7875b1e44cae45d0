/**
 * Section 6 of the Autobahn TestSuite, by its numbers: UTF-8. The sequences of
 * 6.5 on are those of Markus Kuhn's decoder test.
 */
import {
  begin,
  between,
  bytes,
  continuation,
  echoed,
  type Exchange,
  failed,
  fragments,
  hex,
  refused,
  type Section,
  text,
  upTo
} from "../case.ts"

const greeting = "Hello-µ@ßöäüàá-UTF-8!!"
/** The Greek word that the sequences begin with: 11 bytes. */
const kosme = hex("ce ba e1 bd b9 cf 83 ce bc ce b5")
const edited = bytes("edited")
const surrogate = Buffer.concat([kosme, hex("ed a0 80"), edited])
const beyond = Buffer.concat([kosme, hex("f4 90 80 80"), edited])
/** The bytes of `beyond` up to the first that makes it impossible (90), without it. */
const possible = 12

const wholeBeyond = text(beyond)

interface Group {
  readonly title: string
  readonly sequences: ReadonlyArray<readonly [valid: boolean, bytes: Buffer]>
}

const all = (valid: boolean, title: string, ...sequences: ReadonlyArray<string>): Group => ({
  title,
  sequences: sequences.map((digits) => [valid, hex(digits)] as const)
})

/** The start bytes of a length, each with a space behind it; the last of them is left out, as Autobahn does. */
const lonely = (from: number, to: number): string =>
  Buffer.from(Array.from({ length: to - from }, (_, i) => [from + i, 0x20]).flat()).toString("hex")

const unfinished = [
  "c0",
  "e0 80",
  "f0 80 80",
  "f8 80 80 80",
  "fc 80 80 80 80",
  "df",
  "ef bf",
  "f7 bf bf",
  "fb bf bf bf",
  "fd bf bf bf bf"
]

/** U+nFFFE and U+nFFFF of each plane but the first. */
const nonCharacters = Array.from({ length: 16 }, (_, i) => (i + 1) * 0x10000).flatMap((plane) =>
  [0xfffe, 0xffff].map((last) => Buffer.from(String.fromCodePoint(plane + last)).toString("hex"))
)

const groups: ReadonlyArray<Group> = [
  all(
    true,
    "text that is right",
    "68656c6c6f 24 776f726c64",
    "68656c6c6f c2 a2 776f726c64",
    "68656c6c6f e2 82 ac 776f726c64",
    "68656c6c6f f0 a4 ad a2 776f726c64",
    kosme.toString("hex")
  ),
  {
    title: "each beginning of a word",
    sequences: Array.from(kosme, (_, i) => [[2, 5, 7, 9, 11].includes(i + 1), kosme.subarray(0, i + 1)] as const)
  },
  all(true, "the first sequence of a length", "00", "c2 80", "e0 a0 80", "f0 90 80 80"),
  all(false, "the first sequence of five and six bytes", "f8 88 80 80 80", "fc 84 80 80 80 80"),
  all(true, "the last sequence of a length", "7f", "df bf", "ef bf bf", "f4 8f bf bf"),
  all(
    false,
    "the last sequence of four, five and six bytes, beyond Unicode",
    "f7 bf bf bf",
    "fb bf bf bf bf",
    "fd bf bf bf bf bf"
  ),
  {
    title: "at other boundaries",
    sequences: [
      [true, hex("ed 9f bf")],
      [true, hex("ee 80 80")],
      [true, hex("ef bf bd")],
      [true, hex("f4 8f bf bf")],
      [false, hex("f4 90 80 80")]
    ]
  },
  all(
    false,
    "continuation bytes that continue nothing",
    "80",
    "bf",
    "80 bf",
    "80 bf 80",
    "80 bf 80 bf",
    "80 bf 80 bf 80",
    "80 bf 80 bf 80 bf",
    Buffer.from(Array.from({ length: 63 }, (_, i) => 0x80 + i)).toString("hex")
  ),
  all(
    false,
    "start bytes that start nothing",
    lonely(0xc0, 0xdf),
    lonely(0xe0, 0xef),
    lonely(0xf0, 0xf7),
    lonely(0xf8, 0xfb),
    lonely(0xfc, 0xfd)
  ),
  all(false, "sequences without their last byte", ...unfinished),
  all(false, "sequences without their last byte, one after the other", unfinished.join("")),
  all(false, "impossible bytes", "fe", "ff", "fe fe ff ff"),
  all(false, "overlong slashes", "c0 af", "e0 80 af", "f0 80 80 af", "f8 80 80 80 af", "fc 80 80 80 80 af"),
  all(
    false,
    "the last overlong sequence of a length",
    "c1 bf",
    "e0 9f bf",
    "f0 8f bf bf",
    "f8 87 bf bf bf",
    "fc 83 bf bf bf bf"
  ),
  all(false, "overlong NULs", "c0 80", "e0 80 80", "f0 80 80 80", "f8 80 80 80 80", "fc 80 80 80 80 80"),
  all(
    false,
    "single surrogates",
    "ed a0 80",
    "ed ad bf",
    "ed ae 80",
    "ed af bf",
    "ed b0 80",
    "ed be 80",
    "ed bf bf"
  ),
  all(
    false,
    "pairs of surrogates",
    "ed a0 80 ed b0 80",
    "ed a0 80 ed bf bf",
    "ed ad bf ed b0 80",
    "ed ad bf ed bf bf",
    "ed ae 80 ed b0 80",
    "ed ae 80 ed bf bf",
    "ed af bf ed b0 80",
    "ed af bf ed bf bf"
  ),
  all(true, "non-characters, which are right", "ef bf be", "ef bf bf", ...nonCharacters),
  all(
    true,
    "the specials",
    "ef bf b9",
    "ef bf ba",
    "ef bf bb",
    "ef bf bc",
    "ef bf bd",
    "ef bf be",
    "ef bf bf"
  )
]

const short = (payload: Buffer): string =>
  payload.length > 12 ? `${payload.subarray(0, 12).toString("hex")}...` : payload.toString("hex")

const sequenceCases: ReadonlyArray<Exchange> = groups.flatMap(({ sequences, title }, group) =>
  sequences.map(([valid, payload], i) => {
    const id = `6.${group + 5}.${i + 1}`
    const message = text(payload)
    return valid
      ? echoed(id, `${title}: ${short(payload)}`, [message], [message])
      : refused(id, `${title}: ${short(payload)}`, [message], 1007)
  })
)

export const utf8: Section = {
  id: "6",
  title: "UTF-8",
  cases: [
    echoed("6.1.1", "an empty text message", [text()], [text()]),
    echoed("6.1.2", "three empty fragments", [text("", begin), continuation("", begin), continuation()], [text()]),
    echoed(
      "6.1.3",
      "an empty fragment, one with text, an empty one",
      [text("", begin), continuation("middle", begin), continuation()],
      [text("middle")]
    ),
    echoed("6.2.1", "text that is right", [text(greeting)], [text(greeting)]),
    echoed(
      "6.2.2",
      "text that is right, in two fragments between characters",
      [text("Hello-µ@ßöä", begin), continuation("üàá-UTF-8!!")],
      [text(greeting)]
    ),
    echoed("6.2.3", "text that is right, in fragments of a byte", fragments(text, greeting, 1), [text(greeting)]),
    echoed("6.2.4", "a word that is right, in fragments of a byte", fragments(text, kosme, 1), [text(kosme)]),
    refused("6.3.1", "a surrogate within text", [text(surrogate)], 1007),
    refused("6.3.2", "a surrogate within text, in fragments of a byte", fragments(text, surrogate, 1), 1007),
    failed(
      "6.4.1",
      "a second fragment that goes beyond Unicode: failed before the third is sent",
      [
        { send: [text(kosme, begin)] },
        { quiet: true },
        { send: [continuation(hex("f4 90 80 80"), begin)] }
      ],
      1007
    ),
    failed(
      "6.4.2",
      "a second fragment of the one byte that makes the text impossible: failed at that byte",
      [
        { send: [text(beyond.subarray(0, possible), begin)] },
        { quiet: true },
        { send: [continuation(beyond.subarray(possible, possible + 1), begin)] }
      ],
      1007
    ),
    failed(
      "6.4.3",
      "a second piece of a frame that goes beyond Unicode: failed before the rest of the frame is sent",
      [
        { send: [upTo(wholeBeyond, kosme.length)] },
        { quiet: true },
        { send: [between(wholeBeyond, kosme.length, kosme.length + 4)] }
      ],
      1007
    ),
    failed(
      "6.4.4",
      "a second piece of a frame, the one byte that makes the text impossible: failed at that byte",
      [
        { send: [upTo(wholeBeyond, possible)] },
        { quiet: true },
        { send: [between(wholeBeyond, possible, possible + 1)] }
      ],
      1007
    ),
    ...sequenceCases
  ]
}
