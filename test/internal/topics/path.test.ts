import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Option, Schema } from "effect"
import { HandshakeError, Topic } from "effect-ws"
import { overlap, parsePath } from "../../../src/internal/topics/path.ts"
import { among } from "../../support/properties.ts"

const topic = (path: string): Topic.Topic<Readonly<Record<string, string>>, string> =>
  Topic.make(path, { message: Schema.String }) as never

const anyValue = Arbitrary.map(
  Arbitrary.array(among("a", "/", "%", "2", "5", "F", "-", ":", "é", "😀", "%2F", "%25", "\ud800")),
  (parts) => parts.join("")
)

describe("channels", () => {
  for (
    const [path, params, channel] of [
      ["news", {}, "news"],
      ["room/:name", { name: "lobby" }, "room/lobby"],
      ["room::name", { name: "a:b/c" }, "room:a:b/c"],
      ["a/:x/:y", { x: "1/2%", y: "3/4%" }, "a/1%2F2%25/3/4%"],
      ["user:id", { id: "7" }, "user7"],
      [":a-:b", { a: "x-y", b: "z" }, "x%2Dy-z"],
      ["file/:name/end", { name: "a/end" }, "file/a/end/end"],
      ["10:30/:at", { at: "x" }, "10:30/x"],
      ["a/:x😀:y", { x: "😀", y: "" }, "a/%F0%9F%98%80😀"]
    ] as const
  ) {
    it(`${path} with ${JSON.stringify(params)} is ${channel}, and back`, () => {
      assert.strictEqual(Topic.channel(topic(path), params), channel)
      assert.deepStrictEqual(Topic.parse(topic(path), channel), Option.some(params as never))
    })
  }

  for (
    const [path, channel] of [
      ["news", "news2"],
      ["room/:name", "rooms/a"],
      ["a/:x/:y", "a/b"],
      ["a/:x/:y", "a/%2f/b"],
      ["a/:x/:y", "a/50%/b"],
      ["a/:x/:y", "a/%41/b"],
      ["a/:x!end/:y", "a/x!/end/y"],
      ["file/:name/end", "file/end"],
      ["room/:name", "room/\ud800"]
    ]
  ) {
    it(`${JSON.stringify(channel)} is no channel of ${path}`, () => {
      assert.deepStrictEqual(Topic.parse(topic(path), channel), Option.none())
    })
  }

  it.prop(
    "different parameters have different channels, which give them back",
    [among("x/:a/:b", ":a:::b", ":a-%:b!2::c", "p-:a", ":a/:b/:c"), anyValue, anyValue, anyValue],
    ([path, a, b, c]) => {
      const values: Record<string, string> = { a, b, c }
      const params = Object.fromEntries(parsePath(path).names.map((name) => [name, values[name]]))
      const wellFormed = Object.fromEntries(
        Object.entries(params).map(([name, value]) => [name, value.replaceAll("\ud800", "\ufffd")])
      )
      assert.deepStrictEqual(
        Topic.parse(topic(path), Topic.channel(topic(path), params)),
        Option.some(wellFormed)
      )
    },
    { arbitrary: { runs: 500 } }
  )

  it("replaces lone surrogates, which UTF-8 cannot encode", () => {
    assert.strictEqual(Topic.channel(topic("a/:x"), { x: "b\udc00" }), "a/b\ufffd")
  })

  it("throws InvalidOption for a parameter that is missing or no text, and names it", () => {
    for (const [params, got] of [[{ x: "1" }, "undefined"], [{ x: "1", y: 2 }, "2"], [{ x: "1", y: null }, "null"]]) {
      assert.throws(
        () => Topic.channel(topic("a/:x/:y"), params as never),
        HandshakeError.InvalidOption,
        `invalid option "params.y": expected a text, got ${got}`
      )
    }
  })
})

describe("paths", () => {
  for (
    const [path, problem] of [
      ["", "a text that is not empty"],
      ["a\ud800", "a text that is not empty"],
      [":a:b", "a literal between two parameters"],
      ["x/:a/:a", "a different name for each parameter"],
      [":a%:b", "that does not begin with %"]
    ]
  ) {
    it(`${JSON.stringify(path)} is invalid: expected ${problem}`, () => {
      assert.throws(() => parsePath(path), HandshakeError.InvalidOption, problem)
    })
  }
})

describe("overlap", () => {
  for (
    const [left, right, expected] of [
      ["news", "news", true],
      ["news", "new", false],
      ["room/:a", "room/lobby", true],
      ["room/:a", "feed/:a", false],
      ["room/:a", "room/:b/:c", true],
      ["a/:x/b/:y", "a/c/:z", true],
      ["a/:x/b", "a/:y/c", false],
      ["a-:x", "a-b", true],
      [":x/end", "start/:y", true],
      // An earlier parameter has no character that ends it.
      ["a/:x/:y", "a/b", false],
      ["a/:x-:y", "a/b", false],
      // Only the escapes that a parameter writes are in its channels.
      ["a/:x/:y", "a/%2F/z", true],
      ["a/:x/:y", "a/%41/z", false],
      [":x!a", ":x?b", false]
    ] as const
  ) {
    it(`${left} and ${right} ${expected ? "share a channel" : "share no channel"}`, () => {
      assert.strictEqual(overlap(parsePath(left), parsePath(right)), expected)
      assert.strictEqual(overlap(parsePath(right), parsePath(left)), expected)
    })
  }

  it.prop(
    "holds for paths with a common channel",
    [
      among("x/:a", "x/:a/:b", ":a/y", "x/y", ":a", "x%:a/:b", "x-%:a"),
      among("x/:c", ":c/:d", "x/y", ":c-:d"),
      anyValue,
      anyValue
    ],
    ([left, right, a, b]) => {
      const channel = Topic.channel(topic(left), { a, b })
      if (Option.isSome(Topic.parse(topic(right), channel))) assert.isTrue(overlap(parsePath(left), parsePath(right)))
    },
    { arbitrary: { runs: 500 } }
  )
})
