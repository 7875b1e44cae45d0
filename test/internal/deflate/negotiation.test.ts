/** permessage-deflate's negotiation (RFC 7692 §7.1). Its parameters come from the peer (CVE-2026-2229). */
import { assert, describe, it } from "@effect/vitest"
import type { PerMessageDeflate } from "effect-ws"
import * as Negotiation from "../../../src/internal/deflate/negotiation.ts"
import { formatted, parameters } from "../../support/deflate.ts"

const shown = (options: PerMessageDeflate.Options): string =>
  Object.keys(options).length === 0 ? "" : ` with ${JSON.stringify(options)}`

describe("offer (RFC 7692 §7.1)", () => {
  for (
    const [options, header] of [
      [{}, "client_max_window_bits"],
      [{ serverNoContextTakeover: true }, "server_no_context_takeover; client_max_window_bits"],
      [{ clientNoContextTakeover: true }, "client_no_context_takeover; client_max_window_bits"],
      [{ serverMaxWindowBits: 9, clientMaxWindowBits: 10 }, "server_max_window_bits=9; client_max_window_bits=10"]
    ] as ReadonlyArray<readonly [PerMessageDeflate.Options, string]>
  ) {
    it(`offers "${header}"${shown(options)}`, () => {
      assert.strictEqual(formatted(Negotiation.offer(options)), header)
    })
  }
})

/** An offer, the server's options, and the response: undefined if the server declines. */
const offers: ReadonlyArray<readonly [string, PerMessageDeflate.Options, string | undefined]> = [
  // RFC 7692 §7.1.3 and the section of each parameter.
  ["", {}, ""],
  ["client_max_window_bits", {}, ""],
  ["client_max_window_bits; server_max_window_bits=10", {}, "server_max_window_bits=10"],
  ["server_no_context_takeover", {}, "server_no_context_takeover"],
  ["", { serverNoContextTakeover: true }, "server_no_context_takeover"],
  ["client_no_context_takeover", {}, "client_no_context_takeover"],
  ["", { clientNoContextTakeover: true }, "client_no_context_takeover"],
  [
    "server_no_context_takeover; client_no_context_takeover",
    {},
    "server_no_context_takeover; client_no_context_takeover"
  ],
  ["server_max_window_bits=8", {}, "server_max_window_bits=8"],
  ["server_max_window_bits=15", {}, "server_max_window_bits=15"],
  ["server_max_window_bits=12", { serverMaxWindowBits: 10 }, "server_max_window_bits=10"],
  ["server_max_window_bits=9", { serverMaxWindowBits: 10 }, "server_max_window_bits=9"],
  ["", { serverMaxWindowBits: 10 }, "server_max_window_bits=10"],
  ["", { serverMaxWindowBits: 15 }, ""],
  ["client_max_window_bits=10", {}, "client_max_window_bits=10"],
  ["client_max_window_bits=8", {}, "client_max_window_bits=8"],
  ["client_max_window_bits=15", {}, ""],
  ["client_max_window_bits", { clientMaxWindowBits: 9 }, "client_max_window_bits=9"],
  ["client_max_window_bits=12", { clientMaxWindowBits: 9 }, "client_max_window_bits=9"],
  ["client_max_window_bits=9", { clientMaxWindowBits: 12 }, "client_max_window_bits=9"],
  ["", { clientMaxWindowBits: 12 }, undefined],
  ["server_max_window_bits=12", { clientMaxWindowBits: 12 }, undefined],
  // The offers of Autobahn's cases 12 and 13.
  ["client_max_window_bits; client_no_context_takeover", {}, "client_no_context_takeover"],
  ["server_max_window_bits=9; client_max_window_bits=9", {}, "server_max_window_bits=9; client_max_window_bits=9"],
  ["server_max_window_bits=15; client_max_window_bits=15", {}, "server_max_window_bits=15"],
  [
    "server_no_context_takeover; server_max_window_bits=9; client_max_window_bits",
    {},
    "server_no_context_takeover; server_max_window_bits=9"
  ],
  [
    "server_no_context_takeover; server_max_window_bits=15; client_max_window_bits=9",
    {},
    "server_no_context_takeover; server_max_window_bits=15; client_max_window_bits=9"
  ],
  // Invalid offers.
  ["server_max_window_bits", {}, undefined],
  ["server_max_window_bits=7", {}, undefined],
  ["server_max_window_bits=16", {}, undefined],
  ["server_max_window_bits=1000", {}, undefined],
  ["server_max_window_bits=08", {}, undefined],
  ["server_max_window_bits=9.0", {}, undefined],
  ["server_max_window_bits=+9", {}, undefined],
  ["server_max_window_bits=0x9", {}, undefined],
  ["server_max_window_bits=true", {}, undefined],
  ["client_max_window_bits=7", {}, undefined],
  ["client_max_window_bits=16", {}, undefined],
  ["client_max_window_bits=-10", {}, undefined],
  ["client_max_window_bits=010", {}, undefined],
  ["server_no_context_takeover=1", {}, undefined],
  ["server_no_context_takeover=true", {}, undefined],
  ["client_no_context_takeover=8", {}, undefined],
  ["server_no_context_takeover; server_no_context_takeover", {}, undefined],
  ["client_no_context_takeover; client_no_context_takeover", {}, undefined],
  ["server_max_window_bits=10; server_max_window_bits=10", {}, undefined],
  ["client_max_window_bits; client_max_window_bits=10", {}, undefined],
  ["x-unknown", {}, undefined],
  ["Server_No_Context_Takeover", {}, undefined],
  ["client_max_window_bits; x-unknown=1", {}, undefined],
  ["__proto__", {}, undefined],
  ["constructor=toString", {}, undefined],
  ["client_max_window_bits=constructor", {}, undefined],
  ["server_max_window_bits=__proto__", {}, undefined]
]

describe("accept (RFC 7692 §7.1)", () => {
  for (const [offer, options, response] of offers) {
    const does = response === undefined ? `declines "${offer}"` : `responds "${response}" to "${offer}"`
    it(`${does}${shown(options)}`, () => {
      const accepted = Negotiation.accept(options, parameters(offer))
      assert.strictEqual(accepted && formatted(accepted.response), response)
    })
  }

  it("accepts each window of 8 to 15 bits in both directions (§7.1.2)", () => {
    for (let bits = 8; bits <= 15; bits++) {
      const offer = parameters(`server_max_window_bits=${bits}; client_max_window_bits=${bits}`)
      const accepted = Negotiation.accept({}, offer)
      assert.deepStrictEqual([accepted?.sending.windowBits, accepted?.receiving.windowBits], [bits, bits])
    }
  })

  it("sends as the server's parameters say, and receives as the client's say", () => {
    const accepted = Negotiation.accept(
      { clientNoContextTakeover: true },
      parameters("server_max_window_bits=9; client_max_window_bits=10")
    )
    assert.deepInclude(accepted, {
      sending: { takeover: true, windowBits: 9 },
      receiving: { takeover: false, windowBits: 10 }
    })
  })
})

/** A response, the client's options, and what is wrong with the response: undefined if it is valid. */
const responses: ReadonlyArray<readonly [string, PerMessageDeflate.Options, string | undefined]> = [
  ["", {}, undefined],
  ["server_no_context_takeover", {}, undefined],
  ["client_no_context_takeover", {}, undefined],
  ["server_max_window_bits=8", {}, undefined],
  ["server_max_window_bits=15", {}, undefined],
  ["client_max_window_bits=8", {}, undefined],
  ["client_max_window_bits=15", {}, undefined],
  ["client_max_window_bits=9", { clientMaxWindowBits: 10 }, undefined],
  ["client_max_window_bits=10", { clientMaxWindowBits: 10 }, undefined],
  ["", { clientMaxWindowBits: 10 }, undefined],
  ["server_max_window_bits=9", { serverMaxWindowBits: 10 }, undefined],
  ["client_max_window_bits=11", { clientMaxWindowBits: 10 }, undefined],
  [
    "server_max_window_bits=11",
    { serverMaxWindowBits: 10 },
    "server_max_window_bits: expected at most 10, got 11"
  ],
  ["", { serverMaxWindowBits: 10 }, "server_max_window_bits: expected at most 10, got 15"],
  [
    "",
    { serverNoContextTakeover: true },
    "server_no_context_takeover: expected in the response because the client offered it, got a response without it"
  ],
  ["client_max_window_bits", {}, "client_max_window_bits: expected an integer from 8 to 15, got no value"],
  ["server_max_window_bits", {}, "server_max_window_bits: expected an integer from 8 to 15, got no value"],
  ["server_max_window_bits=7", {}, "server_max_window_bits: expected an integer from 8 to 15, got 7"],
  ["client_max_window_bits=1000", {}, "client_max_window_bits: expected an integer from 8 to 15, got 1000"],
  ["server_no_context_takeover=1", {}, "server_no_context_takeover: expected no value, got 1"],
  [
    "client_no_context_takeover; client_no_context_takeover",
    {},
    "client_no_context_takeover: expected at most one, got several"
  ],
  ["__proto__", {}, "expected a parameter that RFC 7692 defines, got __proto__"],
  ["constructor=1", {}, "expected a parameter that RFC 7692 defines, got constructor"]
]

describe("confirm (RFC 7692 §7.1)", () => {
  for (const [response, options, problem] of responses) {
    const does = problem === undefined ? `confirms "${response}"` : `rejects "${response}"`
    it(`${does}${shown(options)}`, () => {
      const confirmed = Negotiation.confirm(options, parameters(response))
      assert.strictEqual(typeof confirmed === "string" ? confirmed : undefined, problem)
    })
  }

  it("sends as the client's parameters say, and receives as the server's say", () => {
    const response = parameters("client_no_context_takeover; client_max_window_bits=10; server_max_window_bits=9")
    assert.deepStrictEqual(Negotiation.confirm({}, response), {
      sending: { takeover: false, windowBits: 10 },
      receiving: { takeover: true, windowBits: 9 }
    })
  })

  it("keeps no context while sending if the client or the server excludes it", () => {
    const takeoverWith = (options: PerMessageDeflate.Options, response: string) => {
      const confirmed = Negotiation.confirm(options, parameters(response))
      return typeof confirmed === "string" ? confirmed : confirmed.sending.takeover
    }
    assert.isTrue(takeoverWith({}, ""))
    assert.isTrue(takeoverWith({ clientNoContextTakeover: false }, ""))
    assert.isFalse(takeoverWith({ clientNoContextTakeover: true }, ""))
    assert.isFalse(takeoverWith({}, "client_no_context_takeover"))
  })

  it("uses no larger window than its own limit, although the server allows one (§7.1.2.2)", () => {
    for (const response of ["", "client_max_window_bits=15"]) {
      const confirmed = Negotiation.confirm({ clientMaxWindowBits: 9 }, parameters(response))
      assert.deepInclude(confirmed, { sending: { takeover: true, windowBits: 9 } })
    }
  })
})
