import { assert, describe, it } from "@effect/vitest"
import { Duration, Option, Schema } from "effect"
import { HandshakeError, Topic } from "effect-ws"

const Room = Topic.make("room/:name", {
  message: Schema.Struct({ text: Schema.String, at: Schema.Date }),
  member: Schema.Struct({ name: Schema.String }),
  history: { size: 10, ttl: "1 minute" }
})

const Feed = Topic.make("feed/:name", { message: Schema.Finite, slowConsumer: "latest", key: (value) => String(value) })

describe("make", () => {
  it("infers the parameters of the path", () => {
    const params: Topic.Params<"a/:x/b::y_2/10:30"> = { x: "1", y_2: "2" }
    assert.deepStrictEqual(Object.keys(params), ["x", "y_2"])
    // @ts-expect-error The path has no parameter of this name.
    assert.strictEqual(Topic.channel(Room, { room: "lobby", name: "x" }), "room/x")
  })

  it("a topic has the values of its options, and defaults", () => {
    assert.deepStrictEqual(Room.history, { size: 10, ttl: Duration.minutes(1) })
    assert.deepStrictEqual([Room.slowConsumer, Room.key], ["catchUp", undefined])
    assert.deepStrictEqual([Feed.history, Feed.member, Feed.slowConsumer], [undefined, undefined, "latest"])
  })

  const message = Schema.String
  for (
    const [option, options] of [
      ["message", { message: {} }],
      ["member", { message, member: "x" }],
      ["history.size", { message, history: { size: 0, ttl: "1 minute" } }],
      ["history.ttl", { message, history: { size: 1, ttl: 0 } }],
      ["slowConsumer", { message, slowConsumer: "drop" }],
      ["key", { message, key: () => "" }]
    ] as const
  ) {
    it(`throws InvalidOption for an invalid ${option}`, () => {
      assert.throws(() => Topic.make("a", options as never), HandshakeError.InvalidOption, option)
    })
  }
})

describe("the size of a history", () => {
  it("a history has a size of at most 2^31 - 1, a whole number", () => {
    const make = (size: number) => Topic.make("a", { message: Schema.String, history: { size, ttl: 1 } })
    for (const size of [1, 2 ** 31 - 1]) assert.strictEqual(make(size).history?.size, size)
    for (const size of [0, 1.5, 2 ** 31]) assert.throws(() => make(size), HandshakeError.InvalidOption, "history.size")
  })
})

describe("find", () => {
  it("returns the topic of a channel, with its parameters", () => {
    const found = Option.getOrThrow(Topic.find([Room, Feed], "feed/a/b"))
    assert.deepStrictEqual([found.topic.path, found.params], ["feed/:name", { name: "a/b" }])
    assert.isTrue(Option.isNone(Topic.find([Room, Feed], "other")))
  })

  it("parses the path of a copied topic", () => {
    assert.deepStrictEqual(Topic.parse({ ...Room }, "room/a"), Option.some({ name: "a" }))
  })
})

describe("findOverlap", () => {
  it("returns two topics with a common channel", () => {
    const Lobby = Topic.make("room/lobby", { message: Schema.String })
    assert.deepStrictEqual(Topic.findOverlap([Feed, Room, Lobby]), Option.some([Room, Lobby] as const))
    assert.isTrue(Option.isNone(Topic.findOverlap([Feed, Room, Room])))
  })
})

describe("event", () => {
  const codec = Schema.toCodecJson(Topic.event(Room) as Schema.Codec<Topic.Event<unknown, unknown>, unknown>)
  const position = { epoch: "e", offset: 3 }
  for (
    const event of [
      { _tag: "Subscribed", position, members: [{ id: "1", member: { name: "Ada" } }] },
      { _tag: "Message", position, message: { text: "hi", at: new Date(0) } },
      { _tag: "Gap", from: position, to: { epoch: "e", offset: 5 }, missed: 2 },
      { _tag: "Gap", from: position, to: { epoch: "f", offset: 0 } },
      { _tag: "Joined", id: "1", member: { name: "Ada" } },
      { _tag: "Left", id: "1", member: { name: "Ada" } }
    ]
  ) {
    it(`encodes and decodes ${event._tag}${"missed" in event ? " with a count" : ""}`, () => {
      const text = JSON.stringify(Schema.encodeUnknownSync(codec)(event))
      assert.deepStrictEqual(Schema.decodeUnknownSync(codec)(JSON.parse(text)), event as never)
    })
  }

  it("rejects members in a topic without presence", () => {
    const decode = Schema.decodeUnknownOption(Topic.event(Feed))
    assert.isTrue(Option.isNone(decode({ _tag: "Joined", id: "1", member: {} })))
  })
})
