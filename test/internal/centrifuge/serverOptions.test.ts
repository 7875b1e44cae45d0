import { assert, describe, it } from "@effect/vitest"
import { Topic, TopicServer } from "effect-ws"
import { Schema } from "effect"
import * as TopicProtobuf from "effect-ws/TopicProtobuf"
import { readOptions } from "../../../src/internal/centrifuge/serverOptions.ts"

const topics = [Topic.make("room::name", { message: Schema.String })]

describe("readOptions", () => {
  it("fills in the documented defaults", () => {
    const options = { topics }
    assert.deepStrictEqual<unknown>(readOptions(options), {
      topics,
      decisions: options,
      codecs: [],
      bounds: { maxSize: 65_536, maxCount: 1000 },
      maxChannels: 128,
      maxChannelLength: 255,
      rate: { perSecond: 100, burst: 1000 },
      maxCalls: 16,
      maxHistory: 1000,
      connectTimeout: 10_000,
      refreshTimeout: 25_000,
      pingInterval: 25_000,
      pongTimeout: 10_000
    })
  })

  it("takes each option, and times in milliseconds", () => {
    const options: TopicServer.Options = {
      topics,
      formats: [TopicProtobuf.format],
      maxCommandSize: 1,
      maxCommands: 2,
      maxChannels: 3,
      maxChannelLength: 4,
      rate: { perSecond: 5, burst: 6 },
      maxCalls: 7,
      maxHistory: 8,
      connectTimeout: "9 seconds",
      refreshTimeout: "10 seconds",
      pingInterval: "12 seconds",
      pongTimeout: "11 seconds"
    }
    assert.deepStrictEqual<unknown>(readOptions(options), {
      topics,
      decisions: options,
      codecs: [TopicProtobuf.format.codec],
      bounds: { maxSize: 1, maxCount: 2 },
      maxChannels: 3,
      maxChannelLength: 4,
      rate: { perSecond: 5, burst: 6 },
      maxCalls: 7,
      maxHistory: 8,
      connectTimeout: 9000,
      refreshTimeout: 10_000,
      pingInterval: 12_000,
      pongTimeout: 11_000
    })
  })

  it("takes the smallest and the largest value of each option", () => {
    const most = 2 ** 31 - 1
    for (
      const [option, smallest] of [
        ["maxChannels", 0],
        ["maxChannelLength", 1],
        ["maxCommandSize", 1],
        ["maxCommands", 1],
        ["maxCalls", 1],
        ["maxHistory", 1]
      ] as const
    ) {
      for (const value of [smallest, most]) void readOptions({ topics, [option]: value })
      for (const value of [smallest - 1, most + 1]) {
        assert.throws(() => readOptions({ topics, [option]: value }), new RegExp(option))
      }
    }
    const rate = readOptions({ topics, rate: { perSecond: 0, burst: 1 } }).rate
    assert.deepStrictEqual(rate, { perSecond: 0, burst: 1 })
  })

  it("takes pings in each second, and pongs before the next ping", () => {
    void readOptions({ topics, pingInterval: "1 second", pongTimeout: "999 millis" })
    assert.throws(
      () => readOptions({ topics, pingInterval: "1 second", pongTimeout: "1 second" }),
      /less than pingInterval/
    )
  })
})
