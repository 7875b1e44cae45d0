/** The JSON form of the client protocol: which texts are commands, and which replies they become. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { jsonCodec } from "../../../src/internal/centrifuge/jsonCodec.ts"
import { Command, JsonText, Reply } from "../../../src/internal/centrifuge/schema.ts"
import { anyValues, bounds, decodedForm, received } from "../../support/centrifuge.ts"
import { Random } from "../../fuzz/random.ts"

const decode = (input: string | Uint8Array, limits = bounds) =>
  Result.match(jsonCodec.decode(Command, received(input), limits), {
    onFailure: ({ reason }): unknown => reason,
    onSuccess: (values): unknown => values
  })

describe("reading commands in JSON", () => {
  for (
    const [name, input, expected] of [
      ["reads one command", `{"id":1,"connect":{}}`, [{ id: 1, connect: {} }]],
      ["reads commands in lines", `{"id":1,"rpc":{"method":"m"}}\n{}\n`, [{ id: 1, rpc: { method: "m" } }, {}]],
      ["skips empty lines", `\n{}\r\n\n`, [{}]],
      ["skips fields that it does not know", `{"id":1,"x":{"a":1},"connect":{"flag":3,"y":[]}}`, [{
        id: 1,
        connect: {}
      }]],
      ["takes null for an absent field", `{"id":null,"connect":null}`, [{}]],
      ["keeps null as a payload", `{"send":{"data":null}}`, [{ send: { data: null } }]],
      ["keeps a payload as it is", `{"send":{"data":{"__proto__":1,"a":[{}]}}}`, [{
        send: { data: JSON.parse(`{"__proto__":1,"a":[{}]}`) }
      }]],
      ["keeps the name __proto__ in a map", `{"connect":{"headers":{"__proto__":"a"}}}`, [{
        connect: { headers: JSON.parse(`{"__proto__":"a"}`) }
      }]],
      ["reads the largest id", `{"id":4294967295}`, [{ id: 4294967295 }]],
      ["rejects an id above 2^32", `{"id":4294967296}`, "Syntax"],
      ["rejects a negative id", `{"id":-1}`, "Syntax"],
      ["rejects a fraction as an id", `{"id":1.5}`, "Syntax"],
      ["rejects a text as an id", `{"id":"1"}`, "Syntax"],
      ["rejects an offset above 2^53", `{"subscribe":{"offset":9007199254740992}}`, "Syntax"],
      ["rejects an array as a command", `[]`, "Syntax"],
      ["rejects null as a command", `null`, "Syntax"],
      ["rejects an array as a message", `{"connect":[]}`, "Syntax"],
      ["rejects a number as a text", `{"subscribe":{"channel":1}}`, "Syntax"],
      ["rejects a number as a boolean", `{"subscribe":{"recover":1}}`, "Syntax"],
      ["rejects an array as a map", `{"connect":{"headers":[]}}`, "Syntax"],
      ["rejects a map with a number for a text", `{"connect":{"headers":{"a":1}}}`, "Syntax"],
      ["rejects a map with a text and a number", `{"connect":{"headers":{"a":"b","c":1}}}`, "Syntax"],
      ["rejects half a value", `{"id":1`, "Syntax"],
      ["rejects two values in a line", `{}{}`, "Syntax"],
      ["rejects an empty message", "", "Syntax"],
      ["rejects a message of empty lines", " \n\n", "Syntax"],
      ["rejects a binary message", new TextEncoder().encode("{}"), "Syntax"]
    ] as const
  ) {
    it(name, () => assert.deepStrictEqual(decode(input), expected))
  }

  it("bounds the number of commands before it parses more", () => {
    assert.deepStrictEqual(decode("{}\n{}", { maxCount: 2, maxSize: 10 }), [{}, {}])
    assert.strictEqual(decode("{}\n{}\n{", { maxCount: 2, maxSize: 10 }), "TooMany")
  })

  it("bounds the size of a command in bytes before it parses it", () => {
    assert.deepStrictEqual(decode("{}      ", { maxCount: 2, maxSize: 8 }), [{}])
    assert.strictEqual(decode("{}       ", { maxCount: 2, maxSize: 8 }), "TooLarge")
    assert.deepStrictEqual(decode(`{"a":"€"}`, { maxCount: 2, maxSize: 11 }), [{}])
    assert.strictEqual(decode(`{"a":"€"}`, { maxCount: 2, maxSize: 10 }), "TooLarge")
  })

  it("rejects lists with invalid values, or that are not lists", () => {
    for (const publications of ["[1]", "[{},{\"offset\":-1}]", "{}"]) {
      const text = `{"subscribe":{"publications":${publications}}}`
      assert.isTrue(Result.isFailure(jsonCodec.decode(Reply, received(text), bounds)), text)
    }
  })

  it("reads deeply nested payloads", () => {
    const depth = 20_000
    assert.isArray(decode(`{"send":{"data":${"[".repeat(depth)}${"]".repeat(depth)}}}`))
  })
})

describe("writing replies in JSON", () => {
  it("writes one line for each reply, and no absent fields", () => {
    const text = jsonCodec.encode(Reply, [{ id: 1, unsubscribe: {}, error: undefined }, {}])
    assert.strictEqual(text, `{"id":1,"unsubscribe":{}}\n{}`)
  })

  it("writes a payload as it is, on one line", () => {
    const push = { channel: "a", pub: { data: new JsonText("{\n\"n\": 12345678901234567890}"), offset: 1 } }
    assert.strictEqual(
      jsonCodec.encode(Reply, [{ push }]),
      `{"push":{"channel":"a","pub":{"data":{ "n": 12345678901234567890},"offset":1}}}`
    )
  })

  it("reads what it writes, for any values", () => {
    const random = new Random(1)
    for (let i = 0; i < 500; i++) {
      for (const type of [Command, Reply]) {
        const values = anyValues(type, random)
        const decoded = jsonCodec.decode(type, received(jsonCodec.encode(type, values)), bounds)
        assert.deepStrictEqual(
          Result.getOrThrow(decoded) as unknown,
          decodedForm(values, ({ text }) => JSON.parse(text))
        )
      }
    }
  })

  it("writes null for a value that JSON lacks", () => {
    assert.strictEqual(JsonText.of(undefined).text, "null")
    assert.deepStrictEqual(jsonCodec.payload({ a: 1 }), Result.succeed({ a: 1 }))
  })
})
