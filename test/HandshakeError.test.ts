import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { HandshakeError } from "effect-ws"

const requestErrors: ReadonlyArray<readonly [error: HandshakeError.RequestError, status: number, message: string]> = [
  [
    new HandshakeError.InvalidMethod({ method: "POST" }),
    405,
    "a WebSocket handshake is a GET request, not POST"
  ],
  [
    new HandshakeError.UnsupportedHttpVersion({ version: "1.0" }),
    505,
    "a WebSocket handshake needs HTTP/1.1, not HTTP/1.0"
  ],
  [
    new HandshakeError.InvalidTarget({ target: "a\"b" }),
    400,
    "the request target \"a\\\"b\" is neither a path nor an http URL"
  ],
  [new HandshakeError.MissingHeader({ header: "Host" }), 400, "the handshake has no Host header"],
  [
    new HandshakeError.InvalidHostHeader({ value: "a\"b" }),
    400,
    "the Host header \"a\\\"b\" is not one host with an optional port"
  ],
  [
    new HandshakeError.InvalidUpgradeHeader({ value: undefined }),
    426,
    "there is no Upgrade header; a WebSocket handshake has \"Upgrade: websocket\""
  ],
  [
    new HandshakeError.InvalidUpgradeHeader({ value: "h2c" }),
    426,
    "the Upgrade header \"h2c\" does not name websocket"
  ],
  [
    new HandshakeError.InvalidConnectionHeader({ value: undefined }),
    400,
    "there is no Connection header; a proxy in between may not pass upgrades on"
  ],
  [
    new HandshakeError.InvalidConnectionHeader({ value: "close" }),
    400,
    "the Connection header \"close\" does not name upgrade; a proxy in between may not pass upgrades on"
  ],
  [
    new HandshakeError.UnexpectedBody({ header: "Content-Length" }),
    400,
    "a WebSocket handshake has no body, and so no Content-Length header"
  ],
  [new HandshakeError.InvalidKey({ key: "short" }), 400, "Sec-WebSocket-Key must be 16 bytes in base64"],
  [
    new HandshakeError.UnsupportedVersion({ version: "8" }),
    426,
    "WebSocket version \"8\" is not supported; 13 is"
  ],
  [
    new HandshakeError.InvalidProtocolHeader({ value: "a, a" }),
    400,
    "Sec-WebSocket-Protocol must be a list of distinct tokens"
  ],
  [
    new HandshakeError.InvalidExtensionHeader({ value: "=" }),
    400,
    "Sec-WebSocket-Extensions must be a list of extensions, each a token with parameters"
  ],
  [
    new HandshakeError.OriginNotAllowed({ origin: "https://evil.example", host: "example.com" }),
    403,
    "pages of https://evil.example may not connect to example.com; the server's \"origin\" option says which may " +
    "(over TLS, only https pages are \"same-origin\"; behind a proxy, pass the Host header on)"
  ]
]

type OtherError =
  | Exclude<HandshakeError.ResponseError, HandshakeError.RequestError>
  | HandshakeError.OptionsError
  | HandshakeError.ConnectFailed
  | HandshakeError.ProxyRejected
  | HandshakeError.HandshakeTimeout
  | HandshakeError.HandshakeRedirected
  | HandshakeError.TooManyRedirects
  | HandshakeError.RedirectRefused
  | HandshakeError.HandshakeRejected

const notReached = { phase: "response", addresses: [] } as const

const rejected = (status: number, body: string) =>
  new HandshakeError.HandshakeRejected({ status, headers: {}, rawHeaders: [], body })

const otherErrors: ReadonlyArray<readonly [error: OtherError, message: string]> = [
  [
    new HandshakeError.InvalidAccept({ expected: "abc=", actual: "d\"ef" }),
    "Sec-WebSocket-Accept is \"d\\\"ef\", but the key asks for \"abc=\""
  ],
  [
    new HandshakeError.UnsolicitedProtocol({ protocol: "soap", offered: ["chat", "mqtt"] }),
    "the server selected the subprotocol \"soap\"; offered were: chat, mqtt"
  ],
  [
    new HandshakeError.UnsolicitedProtocol({ protocol: "soap", offered: [] }),
    "the server selected the subprotocol \"soap\"; offered were: none"
  ],
  [
    new HandshakeError.UnsolicitedExtension({ extension: "mux", offered: ["permessage-deflate", "x-trace"] }),
    "the server accepted the extension \"mux\"; offered were: permessage-deflate, x-trace"
  ],
  [
    new HandshakeError.UnsolicitedExtension({ extension: "mux", offered: [] }),
    "the server accepted the extension \"mux\"; offered were: none"
  ],
  [
    new HandshakeError.ExtensionMismatch({ extension: "mux", problem: "it has no channels" }),
    "the server accepted the extension \"mux\" in a way that was not agreed on: it has no channels"
  ],
  [
    new HandshakeError.InvalidUrl({ url: "ftp://a", problem: "its scheme is ftp, not ws or wss" }),
    "\"ftp://a\" is not a WebSocket URL: its scheme is ftp, not ws or wss"
  ],
  [
    new HandshakeError.InvalidHeader({ header: "X-\n", problem: "it is wrong" }),
    "the header \"X-\\n\" cannot be sent: it is wrong"
  ],
  [
    new HandshakeError.InvalidProtocol({ protocol: "a b", problem: "it is wrong" }),
    "the subprotocol \"a b\" cannot be offered: it is wrong"
  ],
  [
    new HandshakeError.InvalidOption({ option: "agent", problem: "it is wrong" }),
    "the option \"agent\" cannot be used: it is wrong"
  ],
  [
    new HandshakeError.InvalidStatus({ status: 101 }),
    "a handshake cannot be rejected with status 101; use one from 300 to 599, but not 304"
  ],
  [
    new HandshakeError.ProtocolNotOffered({ protocol: "mqtt", offered: ["chat", "soap"] }),
    "the decision selects the subprotocol \"mqtt\"; the client offered: chat, soap"
  ],
  [
    new HandshakeError.ProtocolNotOffered({ protocol: "mqtt", offered: [] }),
    "the decision selects the subprotocol \"mqtt\"; the client offered: none"
  ],
  [
    new HandshakeError.ExtensionNotOffered({ extension: "m\"ux", offered: ["permessage-deflate", "x-trace"] }),
    "the server accepts the extension \"m\\\"ux\"; the client offered: permessage-deflate, x-trace"
  ],
  [
    new HandshakeError.ExtensionNotOffered({ extension: "mux", offered: [] }),
    "the server accepts the extension \"mux\"; the client offered: none"
  ],
  [
    new HandshakeError.ConnectFailed({
      ...notReached,
      url: "ws://localhost:1/",
      code: "ECONNREFUSED",
      cause: new Error("connect ECONNREFUSED 127.0.0.1:1")
    }),
    "could not connect to ws://localhost:1/: connect ECONNREFUSED 127.0.0.1:1"
  ],
  [
    new HandshakeError.ConnectFailed({
      ...notReached,
      url: "ws://localhost:1/",
      code: "ECONNREFUSED",
      cause: new Error("")
    }),
    "could not connect to ws://localhost:1/: ECONNREFUSED"
  ],
  [
    new HandshakeError.ConnectFailed({
      ...notReached,
      url: "ws://a/",
      code: "ECONNRESET",
      cause: new Error("socket hang up")
    }),
    "could not connect to ws://a/: socket hang up; if the server speaks TLS, the URL is to say wss"
  ],
  [
    new HandshakeError.ConnectFailed({
      ...notReached,
      url: "wss://a/",
      code: "ECONNRESET",
      cause: new Error("socket hang up")
    }),
    "could not connect to wss://a/: socket hang up"
  ],
  [
    new HandshakeError.ConnectFailed({
      ...notReached,
      url: "wss://a/",
      code: "EPROTO",
      cause: new Error("write EPROTO 80:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:a.c:1:\n")
    }),
    "could not connect to wss://a/: write EPROTO 80:error:0A00010B:SSL routines:ssl3_get_record:" +
    "wrong version number:a.c:1:; if the server speaks no TLS, the URL is to say ws"
  ],
  ...["DEPTH_ZERO_SELF_SIGNED_CERT", "SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"].map((code) =>
    [
      new HandshakeError.ConnectFailed({ ...notReached, url: "wss://a/", code, cause: new Error("no") }),
      "could not connect to wss://a/: no; for an authority of your own, say tls.ca"
    ] as const
  ),
  [
    new HandshakeError.ConnectFailed({
      url: "wss://a/",
      phase: "connect",
      code: "ETIMEDOUT",
      addresses: [],
      cause: new AggregateError([
        new Error("connect ETIMEDOUT 10.0.0.1:443"),
        new Error("connect ECONNREFUSED ::1:443")
      ])
    }),
    "could not connect to wss://a/: connect ETIMEDOUT 10.0.0.1:443, connect ECONNREFUSED ::1:443"
  ],
  [
    new HandshakeError.ConnectFailed({
      url: "ws://a/",
      phase: "proxy",
      code: "ECONNRESET",
      addresses: [],
      cause: new Error("socket hang up")
    }),
    "could not connect to ws://a/ through the proxy: socket hang up"
  ],
  [
    new HandshakeError.ConnectFailed({
      url: "wss://a/",
      phase: "proxy",
      code: "EPROTO",
      addresses: [],
      cause: new Error("wrong version number")
    }),
    "could not connect to wss://a/ through the proxy: wrong version number; if the proxy speaks no TLS, its URL is to say http"
  ],
  [
    new HandshakeError.ConnectFailed({
      url: "wss://a/",
      phase: "proxy",
      code: "DEPTH_ZERO_SELF_SIGNED_CERT",
      addresses: [],
      cause: new Error("no")
    }),
    "could not connect to wss://a/ through the proxy: no; for an authority of your own, say proxy.tls.ca"
  ],
  [
    new HandshakeError.ProxyRejected({ url: "wss://a/", status: 502, headers: {}, rawHeaders: [] }),
    "the proxy rejected a tunnel to wss://a/ with status 502"
  ],
  [
    new HandshakeError.ProxyRejected({ url: "wss://a/", status: 407, headers: {}, rawHeaders: [] }),
    "the proxy rejected a tunnel to wss://a/ with status 407; give the proxy's URL a user and password that it accepts"
  ],
  ...([
    ["lookup", "the addresses of the host"],
    ["connect", "a connection"],
    ["proxy", "the proxy"],
    ["agent", "the agent to give a socket"],
    ["duplex", "the duplex option to give a stream"],
    ["tls", "the TLS handshake"],
    ["response", "the response"],
    ["extensions", "an extension to start"]
  ] as const).map(([phase, awaited]) =>
    [
      new HandshakeError.HandshakeTimeout({
        url: "ws://slow.example/",
        phase,
        duration: Duration.seconds(10),
        addresses: []
      }),
      `no WebSocket handshake with ws://slow.example/ within 10s: still waiting for ${awaited}; ` +
      "raise handshakeTimeout if this needs longer"
    ] as const
  ),
  [
    new HandshakeError.HandshakeTimeout({
      url: "ws://slow.example/",
      phase: "connect",
      duration: Duration.seconds(10),
      addresses: [
        { address: "10.0.0.1", port: 80, code: undefined },
        { address: "::1", port: 80, code: "ECONNREFUSED" }
      ]
    }),
    "no WebSocket handshake with ws://slow.example/ within 10s: still waiting for a connection: " +
    "10.0.0.1 (no answer), ::1 (ECONNREFUSED); raise handshakeTimeout if this needs longer"
  ],
  [
    new HandshakeError.HandshakeRedirected({
      status: 307,
      location: "wss://example.com/",
      headers: {},
      rawHeaders: []
    }),
    "the server redirects to wss://example.com/ (status 307); connect there instead, " +
    "or let maxRedirects say how many to follow"
  ],
  [
    new HandshakeError.TooManyRedirects({ maxRedirects: 3, location: "wss://example.com/" }),
    "the server redirects once more after 3, to wss://example.com/"
  ],
  [
    new HandshakeError.RedirectRefused({ location: "ftp://example.com/", problem: "it is wrong" }),
    "the redirect to ftp://example.com/ is not followed: it is wrong"
  ],
  [rejected(404, ""), "the server rejected the handshake with status 404"],
  [rejected(401, "a token is needed"), "the server rejected the handshake with status 401: a token is needed"],
  [rejected(500, "x".repeat(200)), `the server rejected the handshake with status 500: ${"x".repeat(200)}`],
  [rejected(500, "x".repeat(201)), `the server rejected the handshake with status 500: ${"x".repeat(200)}…`]
]

const table = [...requestErrors.map(([error, , message]) => [error, message] as const), ...otherErrors]

describe("each error", () => {
  for (const [error, message] of table) {
    it(`says: ${message.slice(0, 100)}`, () => {
      assert.strictEqual(error.message, message)
      assert.strictEqual(error.name, error._tag)
      assert.strictEqual(String(error), `${error._tag}: ${message}`)
      assert.instanceOf(error, Error)
    })
  }

  it("is in this table", () => {
    const tags = [...new Set<string>(table.map(([error]) => error._tag))]
    assert.deepStrictEqual(tags.toSorted(), Object.keys(HandshakeError).toSorted())
  })

  it("keeps Node's error as its cause where there was no HTTP exchange", () => {
    const cause = new Error("getaddrinfo ENOTFOUND nowhere")
    assert.strictEqual(
      new HandshakeError.ConnectFailed({ ...notReached, url: "ws://nowhere/", code: "ENOTFOUND", cause }).cause,
      cause
    )
  })
})

describe("the status that refuses a request (RFC 6455 §4.2.2, RFC 9110 §15)", () => {
  for (const [error, status, message] of requestErrors) {
    it(`is ${status} for ${error._tag}: ${message.slice(0, 60)}`, () => {
      assert.strictEqual(error.status, status)
    })
  }
})
