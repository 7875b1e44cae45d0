/** Responses that accept (RFC 6455 §4.2.2). */
import { assert, describe, it } from "@effect/vitest"
import { Handshake } from "effect-ws"
import {
  badExtension,
  badExtensions,
  badHandshakeHeaders,
  badName,
  factsOf,
  goodHeaders,
  type Pairs,
  parameterOf,
  read,
  sampleAccept,
  succeed
} from "../support/handshakes.ts"

describe("acceptResponse (RFC 6455 §4.2.2)", () => {
  const request = succeed(read())
  const basic: Pairs = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", sampleAccept]
  ]

  it("acceptResponse returns the response of §1.2", () => {
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, { protocol: "chat" })), {
      status: 101,
      rawHeaders: [...basic, ["Sec-WebSocket-Protocol", "chat"]],
      body: ""
    })
  })

  it("acceptResponse has only the required headers by default", () => {
    const plain = { status: 101, rawHeaders: basic, body: "" }
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request)), plain)
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, {})), plain)
    const nothing = { protocol: undefined, headers: undefined, extensions: [] }
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, nothing)), plain)
  })

  it("acceptResponse has a subprotocol, extensions and headers, in this order", () => {
    const response = succeed(
      Handshake.acceptResponse(succeed(read({ "Sec-WebSocket-Extensions": "c, b, a; d" })), {
        protocol: "superchat",
        extensions: [{ name: "a", parameters: [{ name: "b", value: "1" }] }, { name: "c", parameters: [] }],
        headers: { "Set-Cookie": ["x=1", "y=2"], "X-Served-By": "one" }
      })
    )
    assert.deepStrictEqual(response.rawHeaders, [
      ...basic,
      ["Sec-WebSocket-Protocol", "superchat"],
      ["Sec-WebSocket-Extensions", "a; b=1, c"],
      ["Set-Cookie", "x=1"],
      ["Set-Cookie", "y=2"],
      ["X-Served-By", "one"]
    ])
  })

  for (const protocol of ["soap", "", "Chat", "chat, superchat", "chat\r\nX: y"]) {
    it(`acceptResponse fails with ProtocolNotOffered for ${JSON.stringify(protocol)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(request, { protocol })), {
        _tag: "ProtocolNotOffered",
        protocol,
        offered: ["chat", "superchat"]
      })
    })
  }

  for (
    const [header, names, extension, offered] of [
      [undefined, ["a"], "a", []],
      ["a", ["b"], "b", ["a"]],
      ["a", ["A"], "A", ["a"]],
      ["a; b=1, c, a", ["a", "b", "d"], "b", ["a", "c", "a"]],
      ["a, b", ["a", "b", "c"], "c", ["a", "b"]],
      ["a", [""], "", ["a"]],
      ["a, b", ["a, b"], "a, b", ["a", "b"]],
      ["a", ["a", "b\r\nX: y"], "b\r\nX: y", ["a"]]
    ] as const
  ) {
    it(`acceptResponse fails with ExtensionNotOffered for ${JSON.stringify(names)}, with ${header ?? "no extensions"} offered`, () => {
      const asker = succeed(read({ "Sec-WebSocket-Extensions": header }))
      const extensions = names.map((name) => ({ name, parameters: [] }))
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(asker, { extensions })), {
        _tag: "ExtensionNotOffered",
        extension,
        offered
      })
    })
  }

  it("acceptResponse accepts an offered extension several times, with any parameters", () => {
    const asker = succeed(read({ "Sec-WebSocket-Extensions": "a; b" }))
    const extensions = [parameterOf("c", "!#$%&'*+-.^_`|~"), parameterOf("b")]
    assert.deepStrictEqual(succeed(Handshake.acceptResponse(asker, { extensions })).rawHeaders, [
      ...basic,
      ["Sec-WebSocket-Extensions", "a; c=!#$%&'*+-.^_`|~, a; b"]
    ])
  })

  for (const extensions of badExtensions) {
    it(`acceptResponse fails with InvalidHeader for the extensions ${JSON.stringify(extensions)}`, () => {
      const asker = { ...request, extensions }
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(asker, { extensions })), badExtension)
    })
  }

  it("fails with the first of several errors", () => {
    const wrong = { protocol: "soap", extensions: [parameterOf("")], headers: { "": "" } }
    const asker = succeed(read({ "Sec-WebSocket-Extensions": "a" }))
    const errors = [
      Handshake.acceptResponse(request, wrong),
      Handshake.acceptResponse(request, { ...wrong, protocol: "chat" }),
      Handshake.acceptResponse(asker, { ...wrong, protocol: "chat" }),
      Handshake.acceptResponse(asker, { headers: wrong.headers })
    ].map(factsOf)
    assert.deepStrictEqual(errors, [
      { _tag: "ProtocolNotOffered", protocol: "soap", offered: ["chat", "superchat"] },
      { _tag: "ExtensionNotOffered", extension: "a", offered: [] },
      badExtension,
      { _tag: "InvalidHeader", header: "", problem: badName }
    ])
  })

  for (const [headers, header, problem] of badHandshakeHeaders) {
    it(`rejects the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(factsOf(Handshake.acceptResponse(request, { headers })), {
        _tag: "InvalidHeader",
        header,
        problem
      })
    })
  }

  for (const [headers, pairs] of goodHeaders) {
    it(`writes the headers ${JSON.stringify(headers)}`, () => {
      assert.deepStrictEqual(succeed(Handshake.acceptResponse(request, { headers })).rawHeaders, [...basic, ...pairs])
    })
  }
})
