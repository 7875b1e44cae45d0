import { assert, describe, it } from "@effect/vitest"
import { checkHeartbeat, checkReconnecting } from "../../../src/internal/reconnecting/options.ts"

type Options = Parameters<typeof checkReconnecting>[0]

const buffer = (
  messages: number,
  bytes: number
): Options => ({ whileDisconnected: { buffer: { messages, bytes } } } as Options)

describe("checkReconnecting", () => {
  it("allows the defaults, and limits of 0 where nothing is a valid limit", () => {
    for (
      const options of [
        {},
        { resetAfter: 0, maxRetryAfter: 0 },
        { whileDisconnected: "fail" },
        buffer(0, 0),
        buffer(Infinity, Infinity),
        { whileHidden: "keep" },
        { whileHidden: { closeAfter: 0 } },
        { fastFailures: { max: 1, within: 1 } },
        { heartbeat: { interval: 1, timeout: 1 } }
      ] as ReadonlyArray<unknown>
    ) assert.isUndefined(checkReconnecting(options as Options), JSON.stringify(options))
  })

  for (
    const [option, options] of [
      ["resetAfter", { resetAfter: -1 }],
      ["maxRetryAfter", { maxRetryAfter: "soon" }],
      ["fastFailures.max", { fastFailures: { max: 0, within: 1 } }],
      ["fastFailures.within", { fastFailures: { max: 1, within: 0 } }],
      ["whileDisconnected.buffer.messages", buffer(-1, 0)],
      ["whileDisconnected.buffer.bytes", buffer(0, NaN)],
      ["whileHidden.closeAfter", { whileHidden: { closeAfter: -1 } }],
      ["heartbeat.interval", { heartbeat: { interval: 0, timeout: 1 } }],
      ["heartbeat.timeout", { heartbeat: { interval: 1, timeout: 0 } }]
    ] as ReadonlyArray<readonly [string, unknown]>
  ) {
    it(`rejects an invalid ${option}, and names it`, () => {
      assert.strictEqual(checkReconnecting(options as Options)?.option, option)
    })
  }
})

describe("checkHeartbeat", () => {
  it("names the options of a heartbeat without a path", () => {
    assert.strictEqual(checkHeartbeat({ interval: -1 } as never)?.option, "interval")
    assert.strictEqual(checkHeartbeat({ timeout: -1 } as never)?.option, "timeout")
    assert.isUndefined(checkHeartbeat({ interval: 1 } as never))
  })
})
