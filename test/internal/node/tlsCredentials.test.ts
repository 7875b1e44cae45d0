import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import { toSecureContextOptions, unredact } from "../../../src/internal/node/tlsCredentials.ts"

describe("toSecureContextOptions", () => {
  it("leaves out absent options", () => {
    assert.deepStrictEqual(toSecureContextOptions({ ca: undefined, cert: "cert" }), { cert: "cert" })
  })

  it("unredacts secrets", () => {
    assert.deepStrictEqual(
      toSecureContextOptions({ ca: ["a", "b"], cert: "cert", key: Redacted.make("key"), passphrase: "open" }),
      { ca: ["a", "b"], cert: "cert", key: "key", passphrase: "open" }
    )
    assert.strictEqual(unredact(Redacted.make("secret")), "secret")
  })
})
