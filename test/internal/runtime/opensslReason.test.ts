import { assert, describe, it } from "@effect/vitest"
import { opensslReason } from "../../../src/internal/runtime/opensslReason.ts"

const cases: ReadonlyArray<readonly [message: string, reason: string]> = [
  [
    "write EPROTO 80:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:../deps/openssl/a.c:350:\n",
    "SSL: wrong version number"
  ],
  ["error:0480006C:PEM routines::no start line", "PEM: no start line"],
  ["unable to verify the first certificate", "unable to verify the first certificate"],
  ["read ECONNRESET", "read ECONNRESET"]
]

describe("opensslReason", () => {
  for (const [message, reason] of cases) {
    it(`reads ${JSON.stringify(message)}`, () => assert.strictEqual(opensslReason(message), reason))
  }
})
