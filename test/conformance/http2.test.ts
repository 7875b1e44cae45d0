/** The exchanges of docs/conformance.md with our client over HTTP/2. Its handshakes are in test/sockets/http2. */
import { assert, describe, it } from "@effect/vitest"
import { isFor } from "./case.ts"
import { sections } from "./cases/index.ts"
import { http2Client } from "./http2Client.ts"
import { fewMessages, run } from "./run.ts"

/** Ends an exchange that hangs. A mebibyte in frames of 64 bytes takes long on a machine that is busy. */
const patience = 180_000

/** Who ends TCP first (§7.1.1). An HTTP/2 stream leaves nothing in TIME_WAIT, and a client ends its side at once. */
const aboutTcp = new Set(["T.1"])

describe.concurrent("our client over HTTP/2", () => {
  for (const { cases, id, title } of sections) {
    const exchanges = cases.filter((test) =>
      isFor(test, "client") && !aboutTcp.has(test.id) && (test.kind === "exchange" || test.kind === "compressed")
    )
    describe.skipIf(exchanges.length === 0)(`${id} ${title}`, () => {
      for (const test of exchanges) {
        it(`${test.id} ${test.about}`, async () => {
          const { ok, said } = await run(test, http2Client, patience, fewMessages)
          assert.isTrue(ok, said)
        }, 2 * patience)
      }
    })
  }
})
