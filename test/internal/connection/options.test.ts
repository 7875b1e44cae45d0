import { assert, describe, it } from "@effect/vitest"
import type { Connection } from "effect-ws"
import { checkConnection } from "../../../src/internal/connection/options.ts"

describe("checkConnection", () => {
  for (
    const [option, invalid, valid] of [
      ["maxMessageSize", [{ maxMessageSize: -1 }, { maxMessageSize: NaN }], [{ maxMessageSize: 0 }]],
      ["maxFragments", [{ maxFragments: 0 }], [{ maxFragments: 1 }]],
      ["inboundHighWaterMark", [{ inboundHighWaterMark: 0 }], [{ inboundHighWaterMark: 1 }]],
      ["maxUnansweredPings", [{ maxUnansweredPings: -1 }], [{ maxUnansweredPings: 0 }]],
      ["closeTimeout", [{ closeTimeout: -1 }], [{ closeTimeout: 0 }]],
      ["keepalive.interval", [{ keepalive: { interval: 0 } }], [{ keepalive: { interval: 1 } }, { keepalive: false }]],
      ["keepalive.timeout", [{ keepalive: { timeout: 0 } }], [{ keepalive: { timeout: 1 } }, { keepalive: {} }]],
      ["writeTimeout", [{ writeTimeout: 0 }], [{ writeTimeout: 1 }, { writeTimeout: Infinity }]],
      ["slowConsumerTimeout", [{ slowConsumerTimeout: 0 }], [{ slowConsumerTimeout: 1 }]],
      ["idleTimeout", [{ idleTimeout: 0 }], [{ idleTimeout: 1 }]]
    ] as ReadonlyArray<readonly [string, ReadonlyArray<Connection.Options>, ReadonlyArray<Connection.Options>]>
  ) {
    it(`rejects an invalid ${option}, and names it`, () => {
      for (const options of invalid) assert.strictEqual(checkConnection(options)?.option, option)
      for (const options of valid) assert.isUndefined(checkConnection(options))
    })
  }

  it("returns the first of several invalid options, in the order of the table", () => {
    assert.strictEqual(checkConnection({ idleTimeout: 0, maxFragments: 0 })?.option, "maxFragments")
    assert.isUndefined(checkConnection({}))
  })
})
