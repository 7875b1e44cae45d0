import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import type { PeerCertificate } from "node:tls"
import { secureOptions } from "../../../src/internal/node/tls.ts"

const optionsFor = (url: string, tls?: Parameters<typeof secureOptions>[2]) =>
  Result.getOrThrow(secureOptions("tls", new URL(url), tls))

describe("secureOptions", () => {
  it("sends the host as the server name, without a trailing dot, but no address (RFC 6066 §3)", () => {
    const names = ["wss://a.example/", "wss://a.example./", "wss://127.0.0.1/", "wss://[::1]/"].map((url) =>
      optionsFor(url).servername
    )
    assert.deepStrictEqual(names, ["a.example", "a.example", "", ""])
  })

  it("sends another server name, or none, if the options say so", () => {
    assert.strictEqual(optionsFor("wss://a.example/", { servername: "b.example." }).servername, "b.example")
    assert.strictEqual(optionsFor("wss://a.example/", { servername: "" }).servername, "")
  })

  it("checks the certificate for the name, also if no name is sent", () => {
    const certificate = { subject: { CN: "a.example" }, subjectaltname: "DNS:a.example, IP Address:127.0.0.1" }
    const check = (url: string, tls?: Parameters<typeof secureOptions>[2]) =>
      optionsFor(url, tls).checkServerIdentity!("ignored", certificate as unknown as PeerCertificate)
    assert.isUndefined(check("wss://a.example/"))
    assert.isUndefined(check("wss://a.example/", { servername: "" }))
    assert.isUndefined(check("wss://127.0.0.1/"))
    assert.instanceOf(check("wss://b.example/"), Error)
    assert.instanceOf(check("wss://b.example/", { servername: "" }), Error)
    assert.isUndefined(check("wss://b.example/", { servername: "a.example" }))
  })

  it("rejects unauthorized servers unless the options say otherwise, and offers http/1.1", () => {
    const { ALPNProtocols, rejectUnauthorized } = optionsFor("wss://a.example/")
    assert.deepStrictEqual([ALPNProtocols, rejectUnauthorized], [["http/1.1"], true])
    assert.isFalse(optionsFor("wss://a.example/", { rejectUnauthorized: false }).rejectUnauthorized)
  })

  it("fails with InvalidOption for an invalid key, and names the option", () => {
    const result = secureOptions("proxy.tls", new URL("https://a.example/"), { key: "no key" })
    assert.isTrue(Result.isFailure(result) && result.failure.option === "proxy.tls" && result.failure.problem !== "")
  })
})
