/** The Protobuf form of the client protocol: bytes by hand, and what another library reads and writes. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { protobufCodec } from "../../../src/internal/centrifuge/protobufCodec.ts"
import { Command, JsonText, type MessageType, Reply } from "../../../src/internal/centrifuge/schema.ts"
import { Random } from "../../fuzz/random.ts"
import { anyValues, bounds, decodedForm, judge, received } from "../../support/centrifuge.ts"

const decode = (input: string | Uint8Array, limits = bounds) =>
  Result.match(protobufCodec.decode(Command, received(input), limits), {
    onFailure: ({ reason }): unknown => reason,
    onSuccess: (values): unknown => values
  })

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"))
const utf8 = (text: string) => new TextEncoder().encode(text)

describe("reading commands in Protobuf", () => {
  for (
    const [name, input, expected] of [
      ["reads one command", "04 0801 2200", [{ id: 1, connect: {} }]],
      ["reads several commands", "02 0801 00 02 0802", [{ id: 1 }, {}, { id: 2 }]],
      ["skips fields that it does not know", "06 9a0601ff 0801", [{ id: 1 }]],
      ["skips unknown fields of each wire type", "17 9a0601ff 980601 9d0600000000 99060000000000000000", [{}]],
      ["skips a field of another wire type", "05 0a0161 0801", [{ id: 1 }]],
      ["skips 64 bits in place of a number", "09 09 0100000000000000", [{}]],
      ["skips a group in place of a message", "02 2324", [{}]],
      ["reads the last of two fields", "04 0801 0802", [{ id: 2 }]],
      ["takes an empty payload for an absent one", "04 6202 0a00", [{ send: { data: undefined } }]],
      ["rejects an empty message", "", "Syntax"],
      ["rejects a length beyond the end", "05 0801", "Syntax"],
      ["rejects a length without an end", "ffffffffff", "Syntax"],
      ["rejects a field beyond the end of its command", "01 08 01", "Syntax"],
      ["rejects a message beyond the end of its command", "02 2205", "Syntax"],
      ["rejects a text beyond the end of its command", "04 3a02 0a05", "Syntax"],
      ["rejects an unknown wire type", "02 0f01", "Syntax"],
      ["rejects an end of a group without a beginning", "01 0c", "Syntax"],
      ["rejects text that is not UTF-8", "05 3203 0a01ff", "Syntax"],
      ["rejects an offset above 2^53", "0b 2a09 38 ffffffffffffff7f", "Syntax"],
      ["rejects half a map's entry", "06 2204 3205 0a01", "Syntax"],
      ["reads a map's entry without a key or a value", "04 2202 3200", [{ connect: { headers: { "": "" } } }]],
      ["skips unknown fields of a map's entry", "06 2204 3202 1801", [{ connect: { headers: { "": "" } } }]],
      ["rejects a field beyond the end of a map's entry", "06 2204 3201 0a01", "Syntax"],
      ["rejects a number that ends behind its map's entry", "07 2205 3202 1880 01", "Syntax"]
    ] as const
  ) {
    it(name, () => assert.deepStrictEqual(decode(hex(input)), expected))
  }

  it("rejects a text message", () => {
    assert.strictEqual(decode("{}"), "Syntax")
  })

  it("rejects groups that nest deeply", () => {
    const bytes = new Uint8Array(50_000).fill(0x0b)
    assert.strictEqual(decode(Uint8Array.of(0xd0, 0x86, 0x03, ...bytes)), "Syntax")
  })

  it("bounds the number of commands before it reads more", () => {
    assert.deepStrictEqual(decode(hex("00 00"), { maxCount: 2, maxSize: 10 }), [{}, {}])
    assert.strictEqual(decode(hex("00 00 01"), { maxCount: 2, maxSize: 10 }), "TooMany")
  })

  it("bounds the size of a command before it reads it", () => {
    assert.deepStrictEqual(decode(hex("02 0801"), { maxCount: 2, maxSize: 2 }), [{ id: 1 }])
    assert.strictEqual(decode(hex("03 080101"), { maxCount: 2, maxSize: 2 }), "TooLarge")
    assert.strictEqual(decode(hex("ffffffff0f"), { maxCount: 2, maxSize: 2 }), "TooLarge")
  })

  it("keeps a message that it does not look into", () => {
    const bytes = judge.encodeCommands([{ subscribe: { tf: { op: "and", nodes: [{ key: "a" }] } } }])
    const values = Result.getOrThrow(protobufCodec.decode(Command, received(bytes), bounds))
    assert.deepStrictEqual(protobufCodec.encode(Command, values), Uint8Array.from(bytes))
  })

  it("keeps the name __proto__ in a map", () => {
    const [command] = decode(judge.encodeCommands([{ connect: { headers: JSON.parse(`{"__proto__":"a"}`) } }])) as [
      { readonly connect: { readonly headers: object } }
    ]
    assert.deepStrictEqual(Object.entries(command.connect.headers), [["__proto__", "a"]])
  })
})

describe("Protobuf payloads", () => {
  it("reads payloads as JSON in UTF-8", () => {
    assert.deepStrictEqual(protobufCodec.payload(utf8(`{"a":"€"}`)), Result.succeed({ a: "€" }))
    assert.deepStrictEqual(protobufCodec.payload(undefined), Result.succeed(undefined))
  })

  it("rejects payloads that are not JSON, or not UTF-8", () => {
    for (const bytes of [utf8("a"), Uint8Array.of(0x22, 0xff, 0x22)]) {
      assert.isTrue(Result.isFailure(protobufCodec.payload(bytes)))
    }
  })
})

/** A value in the form of the judge: numbers and bytes, and no field that has its default. */
const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("utf8")
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== "object" || value === null) return value
  if ("toNumber" in value) return (value as { readonly toNumber: () => number }).toNumber()
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]))
}

const bytesOf = ({ text }: JsonText) => utf8(text)

/** What both libraries know: without our own fields, and without the empty lists and maps that the judge adds. */
const common = (value: unknown, key = ""): unknown => {
  if (Array.isArray(value)) return value.map((item) => common(item))
  if (typeof value !== "object" || value === null) return value
  const isReply = key === "publish" && !("channel" in value || "data" in value)
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, item]) => {
      if (name === "idempotency_key" || (isReply && (name === "offset" || name === "epoch"))) return []
      const empty = typeof item === "object" && item !== null && Object.keys(item).length === 0
      const list = Array.isArray(item) || /^(?:subs|headers|tags)$/.test(name) || key === "presence"
      return empty && list ? [] : [[name, common(item, name)]]
    })
  )
}

describe("the Protobuf codec", () => {
  const repeatedly = (check: (type: MessageType, random: Random) => void) => {
    const random = new Random(1)
    for (let i = 0; i < 300; i++) for (const type of [Command, Reply]) check(type, random)
  }

  it("reads what it writes, for any values", () => {
    repeatedly((type, random) => {
      const values = anyValues(type, random)
      const decoded = protobufCodec.decode(type, received(protobufCodec.encode(type, values)), bounds)
      assert.deepStrictEqual(plain(Result.getOrThrow(decoded)), plain(decodedForm(values, bytesOf)))
    })
  })

  it("writes what another library reads, for any values", () => {
    repeatedly((type, random) => {
      const values = anyValues(type, random)
      const bytes = protobufCodec.encode(type, values) as Uint8Array
      const decoded = type === Command ? judge.decodeCommands(bytes) : judge.decodeReplies(bytes)
      assert.deepStrictEqual(common(plain(decoded)), common(plain(decodedForm(values, bytesOf))))
    })
  })

  it("reads what another library writes, for any values", () => {
    repeatedly((type, random) => {
      const values = decodedForm(anyValues(type, random), bytesOf) as ReadonlyArray<object>
      const bytes = type === Command ? judge.encodeCommands(values) : judge.encodeReplies(values)
      const decoded = protobufCodec.decode(type, received(bytes), bounds)
      assert.deepStrictEqual(common(plain(Result.getOrThrow(decoded))), common(plain(values)))
    })
  })
})
