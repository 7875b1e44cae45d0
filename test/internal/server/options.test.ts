import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { PerMessageDeflate } from "effect-ws"
import { checkServe, readServeOptions } from "../../../src/internal/server/options.ts"

describe("readServeOptions", () => {
  it("fills in the defaults", () => {
    const { connection, ...settings } = Result.getOrThrow(readServeOptions({}, undefined, "10 seconds"))
    assert.deepStrictEqual(settings, {
      path: undefined,
      origin: "same-origin",
      protocols: [],
      extensions: [],
      limits: { max: undefined, maxPerAddress: undefined },
      handshakeTimeout: 10_000,
      closeTimeout: 10_000,
      handlerTimeout: 30_000,
      shutdownTimeout: 10_000,
      shutdownClose: { code: 1001, reason: "" }
    })
    assert.deepStrictEqual(connection, { role: "server" })
  })

  it("keeps what is given, in milliseconds", () => {
    const extensions = [PerMessageDeflate.make()]
    const settings = Result.getOrThrow(readServeOptions(
      {
        extensions,
        protocols: ["v1"],
        origin: "any",
        maxConnections: 1,
        maxConnectionsPerAddress: 2,
        closeTimeout: 3,
        handlerTimeout: "4 seconds",
        shutdownTimeout: Infinity,
        shutdownClose: { code: 4000 },
        maxMessageSize: 5
      },
      "/chat",
      "6 seconds"
    ))
    assert.deepInclude(settings, {
      path: "/chat",
      origin: "any",
      extensions,
      limits: { max: 1, maxPerAddress: 2 },
      handshakeTimeout: 6000,
      closeTimeout: 3,
      handlerTimeout: 4000,
      shutdownTimeout: Infinity,
      shutdownClose: { code: 4000, reason: "" }
    })
    assert.deepInclude(settings.connection, { role: "server", maxMessageSize: 5 })
  })

  it("fails with the first invalid option", () => {
    const optionOf = (...args: Parameters<typeof readServeOptions>) => {
      const settings = readServeOptions(...args)
      return Result.isFailure(settings) ? settings.failure.option : undefined
    }
    assert.strictEqual(optionOf({ maxFragments: NaN, maxConnections: NaN }, undefined, 0), "maxFragments")
    assert.strictEqual(optionOf({}, undefined, 0), "handshakeTimeout")
  })
})

describe("checkServe", () => {
  const messageOf = (options: Parameters<typeof checkServe>[0]) => checkServe(options)?.message

  it("says how browsers send an origin", () => {
    assert.include(messageOf({ origin: ["https://example.com:443"] }), "expected \"https://example.com\"")
    assert.include(messageOf({ origin: ["*"] }), "an origin such as \"https://example.com\"")
  })

  it("rejects a close code that may not be sent, and a reason that does not fit a close frame", () => {
    assert.include(messageOf({ shutdownClose: { code: 1005 } }), "shutdownClose")
    assert.include(messageOf({ shutdownClose: { code: 1001, reason: "é".repeat(62) } }), "124")
    assert.isUndefined(messageOf({ shutdownClose: { code: 1001, reason: "é".repeat(61) } }))
  })
})
