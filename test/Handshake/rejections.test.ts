/** Responses that reject. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { Handshake, type HandshakeError } from "effect-ws"
import {
  badHeaders,
  factsOf,
  goodHeaders,
  handshakeHeaders,
  http,
  type Pairs,
  read,
  succeed
} from "../support/handshakes.ts"

const rejectWith = (options: ConstructorParameters<typeof Handshake.Reject>[0]) =>
  Handshake.rejectResponse(Handshake.reject(options))

describe("rejectResponse", () => {
  it("rejectResponse closes the connection, and has an empty body by default", () => {
    assert.deepStrictEqual(succeed(rejectWith({ status: 403 })), {
      status: 403,
      rawHeaders: [["Connection", "close"], ["Content-Length", "0"]],
      body: ""
    })
  })

  it("rejectResponse has a body of text with its type and length", () => {
    assert.deepStrictEqual(succeed(rejectWith({ status: 401, body: "né" })), {
      status: 401,
      rawHeaders: [
        ["Connection", "close"],
        ["Content-Length", "3"],
        ["Content-Type", "text/plain; charset=utf-8"]
      ],
      body: "né"
    })
  })

  it("rejectResponse has a body of bytes with the type of the decision", () => {
    const body = Uint8Array.of(1, 2, 3, 4)
    const response = succeed(rejectWith({ status: 500, body, headers: { "content-TYPE": "image/png", "X-A": "b" } }))
    assert.deepStrictEqual(response.rawHeaders, [
      ["Connection", "close"],
      ["Content-Length", "4"],
      ["content-TYPE", "image/png"],
      ["X-A", "b"]
    ])
    assert.strictEqual(response.body, body)
  })

  it("rejectResponse has any status from 300 to 599, except 304", () => {
    const statuses = Array.from({ length: 1200 }, (_, i) => i - 100)
    const expected = statuses.filter((status) => status >= 300 && status < 600 && status !== 304)
    assert.deepStrictEqual(statuses.filter((status) => Result.isSuccess(rejectWith({ status }))), expected)
    for (const status of expected) assert.strictEqual(succeed(rejectWith({ status })).status, status)
  })

  for (const status of [101, 199, 200, 204, 299, 304, 600, 0, -404, 303.5, 404.5, 599.5, NaN, Infinity, -Infinity]) {
    it(`rejectResponse fails with InvalidStatus for ${status}`, () => {
      assert.deepStrictEqual(factsOf(rejectWith({ status })), { _tag: "InvalidStatus", status })
      assert.deepStrictEqual(factsOf(rejectWith({ status, headers: { "": "" } })), { _tag: "InvalidStatus", status })
    })
  }

  for (const name of ["Upgrade", "upgrade", "UPGRADE"]) {
    it(`names ${name} in Connection (RFC 9110 §7.8)`, () => {
      const headers = { [name]: ["websocket", "h2c"], "Sec-WebSocket-Version": "13" }
      assert.deepStrictEqual(succeed(rejectWith({ status: 426, headers, body: "no" })), {
        status: 426,
        rawHeaders: [
          ["Connection", "close, Upgrade"],
          ["Content-Length", "2"],
          ["Content-Type", "text/plain; charset=utf-8"],
          [name, "websocket"],
          [name, "h2c"],
          ["Sec-WebSocket-Version", "13"]
        ],
        body: "no"
      })
    })
  }

  it("names no Upgrade in Connection if the header has no values", () => {
    assert.deepStrictEqual(succeed(rejectWith({ status: 426, headers: { Upgrade: [] } })).rawHeaders, [
      ["Connection", "close"],
      ["Content-Length", "0"]
    ])
  })

  for (const name of handshakeHeaders) {
    it(`rejectResponse may have the header ${name}`, () => {
      const connection = name === "upgrade" ? "close, Upgrade" : "close"
      assert.deepStrictEqual(succeed(rejectWith({ status: 400, headers: { [name]: "x" } })).rawHeaders, [
        ["Connection", connection],
        ["Content-Length", "0"],
        [name, "x"]
      ])
    })
  }

  for (const [headers, header, problem] of badHeaders) {
    it(`rejects the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(factsOf(rejectWith({ status: 400, headers })), { _tag: "InvalidHeader", header, problem })
    })
  }

  for (const [headers, pairs] of goodHeaders) {
    it(`writes the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(succeed(rejectWith({ status: 400, headers })).rawHeaders, [
        ["Connection", "close"],
        ["Content-Length", "0"],
        ...pairs
      ])
    })
  }
})

const failureOf = (result: Result.Result<unknown, HandshakeError.RequestError>): HandshakeError.RequestError =>
  Result.isFailure(result) ? result.failure : assert.fail("succeeded")

describe("errorResponse", () => {
  for (
    const [result, connection, extra] of [
      [Handshake.readRequest(http({ method: "POST" })), "close", [["Allow", "GET"]]],
      [Handshake.readRequest(http({ httpVersion: "1.0" })), "close", []],
      [Handshake.readRequest(http({ target: "*" })), "close", []],
      [read({ Upgrade: undefined }), "close, Upgrade", [["Upgrade", "websocket"]]],
      [read({ Connection: undefined }), "close", []],
      [read({ "Content-Length": "5" }), "close", []],
      [read({ "Sec-WebSocket-Version": "8" }), "close, Upgrade", [
        ["Upgrade", "websocket"],
        ["Sec-WebSocket-Version", "13"]
      ]],
      [read({ "Sec-WebSocket-Version": undefined }), "close", []],
      [read({ "Sec-WebSocket-Key": "short" }), "close", []],
      [read({ Host: "a b" }), "close", []],
      [read({ "Sec-WebSocket-Protocol": "a b" }), "close", []],
      [read({ "Sec-WebSocket-Extensions": "a b" }), "close", []],
      [Handshake.checkOrigin(succeed(read()), "same-origin"), "close", []]
    ] as ReadonlyArray<readonly [Result.Result<unknown, HandshakeError.RequestError>, string, Pairs]>
  ) {
    const error = failureOf(result)
    it(`errorResponse has ${error.status} and the message for ${error._tag}`, () => {
      assert.deepStrictEqual(Handshake.errorResponse(error), {
        status: error.status,
        rawHeaders: [
          ["Connection", connection],
          ["Content-Length", String(Buffer.byteLength(error.message))],
          ["Content-Type", "text/plain; charset=utf-8"],
          ...extra
        ],
        body: error.message
      })
    })
  }
})
