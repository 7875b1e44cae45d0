import { assert, describe, it } from "@effect/vitest"
import { Duration, Exit } from "effect"
import { ConnectionError, HandshakeError } from "effect-ws"
import { isFinal, toExit } from "../../../src/internal/reconnecting/failures.ts"

const end = (
  closedBy: "local" | "remote" | undefined,
  code: number | undefined,
  cause?: ConnectionError.ClosedCause
) => {
  const frame = code === undefined ? undefined : { code, reason: "" }
  return new ConnectionError.ConnectionClosed({ sent: frame, received: frame, closedBy, cause })
}
const shared = { url: "ws://a.example/", headers: {}, rawHeaders: [] }
const rejected = (status: number) =>
  new HandshakeError.HandshakeRejected({ ...shared, status, body: "", truncated: false } as never)
const proxyRejected = (status: number) => new HandshakeError.ProxyRejected({ ...shared, status })

describe("isFinal", () => {
  it("a normal closure by the peer is final, unless the peer is going away", () => {
    for (const code of [1000, undefined, 4000]) {
      const closed = end("remote", code)
      assert.strictEqual(isFinal(closed), closed.normal, String(code))
    }
    assert.isTrue(isFinal(end("remote", 1000)))
    assert.isFalse(isFinal(end("remote", 1001)))
  })

  it("a closure that is not normal, or that this end began, is not final", () => {
    assert.isFalse(isFinal(end("remote", 1011)))
    assert.isFalse(isFinal(end("local", 1000)))
    assert.isFalse(isFinal(end(undefined, undefined, new ConnectionError.UnexpectedEof())))
  })

  it("a rejection is final, unless its status invites another attempt", () => {
    for (const error of [rejected, proxyRejected]) {
      const final = [300, 400, 401, 403, 404, 407, 408, 409, 425, 426, 429, 499, 500, 502, 503, 504]
        .filter((status) => isFinal(error(status)))
      assert.deepStrictEqual(final, [300, 400, 401, 403, 404, 407, 409, 426, 499])
    }
  })

  it("an invalid URL or option is final; a timeout and a failure to connect are not", () => {
    assert.isTrue(isFinal(new HandshakeError.InvalidUrl({ url: "x", problem: "y" } as never)))
    assert.isTrue(isFinal(new HandshakeError.InvalidOption({ option: "x", problem: "y" })))
    assert.isFalse(isFinal(
      new HandshakeError.HandshakeTimeout(
        { ...shared, phase: "tls", duration: Duration.seconds(1), addresses: [] } as never
      )
    ))
    assert.isFalse(isFinal(new HandshakeError.ConnectFailed({ ...shared, phase: "connect", addresses: [] } as never)))
  })

  it("failures of the program are not final, also with names of Object.prototype as tags", () => {
    for (const _tag of ["Own", "constructor", "toString"]) {
      assert.isFalse(isFinal(Object.assign(new Error("own"), { _tag })))
    }
    assert.isFalse(isFinal({ _tag: "InvalidUrl" }))
    assert.isFalse(isFinal(undefined))
  })
})

describe("toExit", () => {
  it("returns success for a normal closure, and the failure otherwise", () => {
    assert.deepStrictEqual(toExit(end("remote", 1000)), Exit.void)
    const abnormal = end("remote", 1011)
    assert.deepStrictEqual(toExit(abnormal), Exit.fail(abnormal))
    assert.deepStrictEqual(toExit(rejected(404)), Exit.fail(rejected(404)))
    const own = { normal: true }
    assert.deepStrictEqual(toExit(own), Exit.fail(own))
  })
})
