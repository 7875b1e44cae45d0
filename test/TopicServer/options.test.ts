/** Options of a topic server that are invalid. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Topic, TopicServer } from "effect-ws"

const Room = Topic.make("room::name", { message: Schema.String })

describe("TopicServer.handler", () => {
  for (
    const [option, options] of [
      ["topics", { topics: [Room, Topic.make("room:lobby", { message: Schema.String })] }],
      ["maxChannels", { maxChannels: -1 }],
      ["maxChannelLength", { maxChannelLength: 0 }],
      ["maxCommandSize", { maxCommandSize: NaN }],
      ["maxCommands", { maxCommands: 1.5 }],
      ["maxCalls", { maxCalls: 0 }],
      ["maxHistory", { maxHistory: 0 }],
      ["rate.perSecond", { rate: { perSecond: -1, burst: 1 } }],
      ["rate.burst", { rate: { perSecond: 1, burst: 0 } }],
      ["connectTimeout", { connectTimeout: 0 }],
      ["refreshTimeout", { refreshTimeout: NaN }],
      ["pingInterval", { pingInterval: "999 millis" }],
      ["pingInterval", { pingInterval: 0 }],
      ["pongTimeout", { pongTimeout: 0 }],
      ["pongTimeout", { pongTimeout: "25 seconds" }]
    ] as ReadonlyArray<readonly [string, Partial<TopicServer.Options>]>
  ) {
    it(`throws InvalidOption for ${JSON.stringify(options)}`, () => {
      try {
        void TopicServer.handler({ topics: [Room], ...options })
      } catch (error) {
        assert.deepInclude(error, { _tag: "InvalidOption", option })
        return
      }
      assert.fail("expected an error")
    })
  }

  it("takes the limits of each option", () => {
    void TopicServer.handler({
      topics: [Room],
      maxChannels: 0,
      rate: { perSecond: Infinity, burst: Infinity },
      refreshTimeout: 0,
      connectTimeout: Infinity,
      pingInterval: Infinity
    })
  })
})
