import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { HandshakeError } from "effect-ws"
import { hostileValues } from "./support/hostile.ts"

const requestErrors: ReadonlyArray<readonly [error: HandshakeError.RequestError, status: number, message: string]> = [
  [
    new HandshakeError.InvalidMethod({ method: "POST", expected: "GET" }),
    405,
    "WebSocket handshake: expected the method GET, got POST"
  ],
  [
    new HandshakeError.InvalidMethod({ method: "GET", expected: "CONNECT" }),
    405,
    "WebSocket handshake: expected the method CONNECT, got GET"
  ],
  [
    new HandshakeError.UnsupportedConnectProtocol({ protocol: "connect-udp" }),
    501,
    ":protocol of a CONNECT request: expected \"websocket\", got \"connect-udp\""
  ],
  [
    new HandshakeError.UnsupportedConnectProtocol({ protocol: undefined }),
    501,
    ":protocol of a CONNECT request: expected \"websocket\", got none"
  ],
  [
    new HandshakeError.InvalidScheme({ scheme: "ftp" }),
    400,
    ":scheme of the request: expected \"http\" or \"https\", got \"ftp\""
  ],
  [
    new HandshakeError.UnsupportedHttpVersion({ version: "1.0" }),
    505,
    "WebSocket handshake: expected HTTP/1.1 or HTTP/2, got HTTP/1.0"
  ],
  [
    new HandshakeError.InvalidTarget({ target: "a\"b" }),
    400,
    "request target: expected a path or an http URL, got \"a\\\"b\""
  ],
  [new HandshakeError.MissingHeader({ header: "Host" }), 400, "WebSocket handshake: expected a Host header, got none"],
  [
    new HandshakeError.InvalidHostHeader({ value: "a\"b" }),
    400,
    "Host header: expected one host with an optional port, got \"a\\\"b\""
  ],
  [
    new HandshakeError.InvalidUpgradeHeader({ value: undefined }),
    426,
    "Upgrade header: expected \"websocket\", got none; WebSocket clients and servers send it, and proxies must pass it on"
  ],
  [
    new HandshakeError.InvalidUpgradeHeader({ value: "h2c" }),
    426,
    "Upgrade header: expected \"websocket\", got \"h2c\"; WebSocket clients and servers send it, and proxies must pass it on"
  ],
  [
    new HandshakeError.InvalidConnectionHeader({ value: undefined }),
    400,
    "Connection header: expected \"Upgrade\", got none; a proxy between client and server must pass upgrades on"
  ],
  [
    new HandshakeError.InvalidConnectionHeader({ value: "close" }),
    400,
    "Connection header: expected \"Upgrade\", got \"close\"; a proxy between client and server must pass upgrades on"
  ],
  [
    new HandshakeError.UnexpectedBody({ header: "Content-Length" }),
    400,
    "WebSocket handshake: expected no body, got a Content-Length header"
  ],
  [
    new HandshakeError.InvalidKey({ key: "short" }),
    400,
    "Sec-WebSocket-Key header: expected 16 bytes in base64, got \"short\""
  ],
  [
    new HandshakeError.UnsupportedVersion({ version: "8" }),
    426,
    "Sec-WebSocket-Version header: expected 13, got \"8\""
  ],
  [
    new HandshakeError.InvalidProtocolHeader({ value: "a, a" }),
    400,
    "Sec-WebSocket-Protocol header: expected a list of distinct tokens, got \"a, a\""
  ],
  [
    new HandshakeError.InvalidExtensionHeader({ value: "=" }),
    400,
    "Sec-WebSocket-Extensions header: expected a list of extensions, each a token with parameters, got \"=\""
  ],
  [
    new HandshakeError.OriginNotAllowed({ origin: "https://evil.example", host: "example.com" }),
    403,
    "Origin header: expected an origin that the server's \"origin\" option allows for example.com, " +
    "got https://evil.example; over TLS, only https pages are \"same-origin\"; a proxy must pass the Host header on"
  ]
]

type OtherError =
  | Exclude<HandshakeError.ResponseError, HandshakeError.RequestError>
  | HandshakeError.OptionsError
  | HandshakeError.ConnectFailed
  | HandshakeError.ProxyRejected
  | HandshakeError.Http2Unsupported
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
    "Sec-WebSocket-Accept header: expected \"abc=\", got \"d\\\"ef\"; the responder may be a cache"
  ],
  [
    new HandshakeError.UnsolicitedProtocol({ protocol: "soap", offered: ["chat", "mqtt"] }),
    "subprotocol of the server: expected one of those offered (chat, mqtt), got \"soap\""
  ],
  [
    new HandshakeError.UnsolicitedProtocol({ protocol: "soap", offered: [] }),
    "subprotocol of the server: expected none, because none was offered, got \"soap\""
  ],
  [
    new HandshakeError.UnsolicitedExtension({ extension: "mux", offered: ["permessage-deflate", "x-trace"] }),
    "extension of the server: expected one of those offered (permessage-deflate, x-trace), got \"mux\""
  ],
  [
    new HandshakeError.UnsolicitedExtension({ extension: "mux", offered: [] }),
    "extension of the server: expected none, because none was offered, got \"mux\""
  ],
  [
    new HandshakeError.ExtensionMismatch({ extension: "mux", problem: "it has no channels" }),
    "parameters of the extension \"mux\": it has no channels"
  ],
  [
    new HandshakeError.InvalidUrl({ url: "ftp://a", problem: "expected the scheme ws or wss, got ftp" }),
    "invalid WebSocket URL \"ftp://a\": expected the scheme ws or wss, got ftp"
  ],
  [
    new HandshakeError.InvalidHeader({ header: "X-\n", problem: "it is wrong" }),
    "invalid header \"X-\\n\": it is wrong"
  ],
  [
    new HandshakeError.InvalidProtocol({ protocol: "a b", problem: "it is wrong" }),
    "invalid subprotocol \"a b\": it is wrong"
  ],
  [
    new HandshakeError.InvalidOption({ option: "agent", problem: "it is wrong" }),
    "invalid option \"agent\": it is wrong"
  ],
  [
    new HandshakeError.InvalidStatus({ status: 101 }),
    "status of a rejection: expected an integer from 300 to 599, except 304, got 101"
  ],
  [
    new HandshakeError.ProtocolNotOffered({ protocol: "mqtt", offered: ["chat", "soap"] }),
    "subprotocol of the decision: expected one of those offered (chat, soap), got \"mqtt\""
  ],
  [
    new HandshakeError.ProtocolNotOffered({ protocol: "mqtt", offered: [] }),
    "subprotocol of the decision: expected none, because none was offered, got \"mqtt\""
  ],
  [
    new HandshakeError.ExtensionNotOffered({ extension: "m\"ux", offered: ["permessage-deflate", "x-trace"] }),
    "extension to accept: expected one of those offered (permessage-deflate, x-trace), got \"m\\\"ux\""
  ],
  [
    new HandshakeError.ExtensionNotOffered({ extension: "mux", offered: [] }),
    "extension to accept: expected none, because none was offered, got \"mux\""
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
    "could not connect to ws://a/: socket hang up; if the server uses TLS, use a wss:// URL"
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
    "could not connect to wss://a/: SSL: wrong version number; if the server does not use TLS, use a ws:// URL"
  ],
  ...([
    ["ws://a/", "response", "if the server uses TLS, use a wss:// URL"],
    ["wss://a/", "response", "use the address of an HTTP server"],
    ["wss://a/", "proxy", "use the address of an HTTP proxy"]
  ] as const).map(([url, phase, advice]) =>
    [
      new HandshakeError.ConnectFailed({
        url,
        phase,
        code: "HPE_INVALID_CONSTANT",
        addresses: [],
        cause: new Error("Parse Error: Expected HTTP/")
      }),
      `could not connect to ${url}${
        phase === "proxy" ? " through the proxy" : ""
      }: Parse Error: Expected HTTP/; ${advice}`
    ] as const
  ),
  ...["DEPTH_ZERO_SELF_SIGNED_CERT", "SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"].map((code) =>
    [
      new HandshakeError.ConnectFailed({ ...notReached, url: "wss://a/", code, cause: new Error("no") }),
      "could not connect to wss://a/: no; if you trust the server's authority, add its certificate to tls.ca"
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
    "could not connect to wss://a/ through the proxy: wrong version number; if the proxy does not use TLS, use an http:// URL for it"
  ],
  [
    new HandshakeError.ConnectFailed({
      url: "wss://a/",
      phase: "proxy",
      code: "DEPTH_ZERO_SELF_SIGNED_CERT",
      addresses: [],
      cause: new Error("no")
    }),
    "could not connect to wss://a/ through the proxy: no; if you trust the proxy's authority, add its certificate to proxy.tls.ca"
  ],
  [
    new HandshakeError.ProxyRejected({ url: "wss://a/", status: 502, headers: {}, rawHeaders: [] }),
    "the proxy rejected a tunnel to wss://a/ with status 502"
  ],
  [
    new HandshakeError.ProxyRejected({ url: "wss://a/", status: 407, headers: {}, rawHeaders: [] }),
    "the proxy rejected a tunnel to wss://a/ with status 407; put a valid user and password into the proxy's URL"
  ],
  ...([
    ["alpn", "the server to select h2 in TLS, got another protocol"],
    ["settings", "the server to set SETTINGS_ENABLE_CONNECT_PROTOCOL, got settings without it"],
    ["required", "a response, got a reset with HTTP_1_1_REQUIRED"]
  ] as const).map(([reason, expected]) =>
    [
      new HandshakeError.Http2Unsupported({ url: "wss://a/", reason }),
      `WebSocket over HTTP/2 with wss://a/: expected ${expected}; ` +
      "connect with http2: \"prefer\", or without the option"
    ] as const
  ),
  [
    new HandshakeError.ConnectFailed({
      url: "ws://a/",
      phase: "session",
      code: "ERR_HTTP2_ERROR",
      addresses: [],
      cause: new Error("Protocol error")
    }),
    "could not connect to ws://a/: Protocol error; if the server does not speak HTTP/2 without TLS, remove http2: \"only\""
  ],
  ...([
    ["lookup", "the addresses of the host"],
    ["connect", "a connection"],
    ["proxy", "the proxy"],
    ["agent", "the agent to provide a socket"],
    ["duplex", "the duplex option to provide a stream"],
    ["tls", "the TLS handshake"],
    ["session", "an HTTP/2 session: the server's settings, or room for a stream"],
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
      `the WebSocket handshake with ws://slow.example/ timed out after 10s while waiting for ${awaited}; ` +
      "raise handshakeTimeout if it needs longer"
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
    "the WebSocket handshake with ws://slow.example/ timed out after 10s while waiting for a connection: " +
    "10.0.0.1 (no response), ::1 (ECONNREFUSED); raise handshakeTimeout if it needs longer"
  ],
  [
    new HandshakeError.HandshakeRedirected({
      status: 307,
      location: "wss://example.com/",
      headers: {},
      rawHeaders: []
    }),
    "the server redirects to wss://example.com/ (status 307); connect to that URL, " +
    "or raise maxRedirects to follow redirects"
  ],
  [
    new HandshakeError.TooManyRedirects({ maxRedirects: 3, location: "wss://example.com/" }),
    "redirects: expected at most 3, got another one to wss://example.com/; raise maxRedirects if this is not a loop"
  ],
  [
    new HandshakeError.RedirectRefused({ location: "ftp://example.com/", problem: "it is wrong" }),
    "the redirect to ftp://example.com/ is not followed: it is wrong"
  ],
  [rejected(404, ""), "the server rejected the handshake with status 404"],
  [rejected(401, "a token is needed"), "the server rejected the handshake with status 401: a token is needed"],
  [
    rejected(200, "<html>\n  <body>hello</body>\n</html>\n"),
    "the server rejected the handshake with status 200; check that the URL is that of a WebSocket endpoint: " +
    "<html> <body>hello</body> </html>"
  ],
  [rejected(500, "x".repeat(200)), `the server rejected the handshake with status 500: ${"x".repeat(200)}`],
  [rejected(500, "x".repeat(201)), `the server rejected the handshake with status 500: ${"x".repeat(200)}…`]
]

const table = [...requestErrors.map(([error, , message]) => [error, message] as const), ...otherErrors]

describe("each error", () => {
  for (const [error, message] of table) {
    it(`${error._tag} says: ${message.slice(0, 100)}`, () => {
      assert.strictEqual(error.message, message)
      assert.strictEqual(error.name, error._tag)
      assert.strictEqual(String(error), `${error._tag}: ${message}`)
      assert.instanceOf(error, Error)
    })
  }

  it("every error is in this table", () => {
    const tags = [...new Set<string>(table.map(([error]) => error._tag))]
    assert.deepStrictEqual(tags.toSorted(), Object.keys(HandshakeError).toSorted())
  })

  it("ConnectFailed has a message for any cause", () => {
    for (const [name, cause] of hostileValues) {
      const failed = new HandshakeError.ConnectFailed({
        ...notReached,
        url: "ws://nowhere/",
        code: undefined,
        cause: cause as Error
      })
      assert.match(failed.message, /^could not connect to ws:\/\/nowhere\/: /, name)
    }
  })

  it("ConnectFailed has the error of Node as its cause", () => {
    const cause = new Error("getaddrinfo ENOTFOUND nowhere")
    assert.strictEqual(
      new HandshakeError.ConnectFailed({ ...notReached, url: "ws://nowhere/", code: "ENOTFOUND", cause }).cause,
      cause
    )
  })
})

describe("the status of a rejection (RFC 6455 §4.2.2, RFC 9110 §15)", () => {
  for (const [error, status, message] of requestErrors) {
    it(`the status of ${error._tag} is ${status}: ${message.slice(0, 60)}`, () => {
      assert.strictEqual(error.status, status)
    })
  }
})
