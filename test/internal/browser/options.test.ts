import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { checkConnect, defaults } from "../../../src/internal/browser/options.ts"
import type { BrowserClient } from "effect-ws"

describe("the options of a connection in a browser", () => {
  it("the defaults are those that the docstrings state", () => {
    assert.deepStrictEqual(defaults, {
      maxMessageSize: 16 * 1024 * 1024,
      maxUnreadAmount: 16 * 1024 * 1024,
      outboundHighWaterMark: 1024 * 1024,
      closeTimeout: Duration.seconds(10)
    })
  })

  for (
    const [option, invalid, valid] of [
      ["handshakeTimeout", [{ handshakeTimeout: 0 }], [{ handshakeTimeout: 1 }]],
      ["closeTimeout", [{ closeTimeout: -1 }], [{ closeTimeout: 0 }]],
      ["maxMessageSize", [{ maxMessageSize: -1 }, { maxMessageSize: NaN }], [{ maxMessageSize: 0 }]],
      ["maxUnreadAmount", [{ maxUnreadAmount: -1 }], [{ maxUnreadAmount: 0 }]],
      ["outboundHighWaterMark", [{ outboundHighWaterMark: -1 }], [{ outboundHighWaterMark: 0 }]]
    ] as ReadonlyArray<
      readonly [string, ReadonlyArray<BrowserClient.ConnectOptions>, ReadonlyArray<BrowserClient.ConnectOptions>]
    >
  ) {
    it(`rejects an invalid ${option}, and names it`, () => {
      for (const options of invalid) assert.strictEqual(checkConnect(options)?.option, option)
      for (const options of valid) assert.isUndefined(checkConnect(options))
    })
  }
})
