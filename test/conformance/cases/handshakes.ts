/** Opening handshakes (RFC 6455 §4): what a server says to a request, and a client to a response. */
import type { Request, Response, Section } from "../case.ts"
import { goodRequest, goodResponse, sampleKey } from "../handshake.ts"

/** Lines of HTTP, with those of the given names replaced, left out (undefined) or added. */
const change = (
  lines: ReadonlyArray<string>,
  changes: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
): ReadonlyArray<string> => {
  const named = Object.keys(changes).map((name) => `${name.toLowerCase()}:`)
  return [
    ...lines.filter((line) => !named.some((name) => line.toLowerCase().startsWith(name))),
    ...Object.entries(changes).flatMap(([name, value]) =>
      value === undefined ? [] : [value].flat().map((one) => `${name}: ${one}`)
    )
  ]
}

const head = (lines: ReadonlyArray<string>): string => [...lines, "", ""].join("\r\n")

const withLine = (lines: ReadonlyArray<string>, first: string): ReadonlyArray<string> => [first, ...lines.slice(1)]

// -----------------------------------------------------------------------------
// Requests
// -----------------------------------------------------------------------------

type Changes = Parameters<typeof change>[1]
type RequestRow = readonly [about: string, lines: ReadonlyArray<string>, status: number, own?: "own"]

const has = (changes: Changes) => change(goodRequest, changes)
const asks = (line: string) => withLine(goodRequest, line)

const accepted: ReadonlyArray<RequestRow> = [
  ["what the RFC asks for", goodRequest, 101],
  ["names and values in capitals", has({ Upgrade: undefined, UPGRADE: "WEBSOCKET", CONNECTION: "UPGRADE" }), 101],
  ["Connection: keep-alive, Upgrade", has({ Connection: "keep-alive, Upgrade" }), 101],
  ["two Connection headers", has({ Connection: ["keep-alive", "Upgrade"] }), 101],
  ["a path with a query", asks("GET /a/b?c=d&e HTTP/1.1"), 101],
  ["an absolute target, as through a proxy", asks("GET http://127.0.0.1/a HTTP/1.1"), 101],
  ["subprotocols that the server does not speak", has({ "Sec-WebSocket-Protocol": "a, b" }), 101, "own"],
  ["subprotocols in two headers", has({ "Sec-WebSocket-Protocol": ["a", "b"] }), 101, "own"],
  ["extensions that the server does not speak", has({ "Sec-WebSocket-Extensions": "x-a; b=1; c=\"d\", x-e" }), 101],
  ["the page of the same host", has({ Host: "example.com", Origin: "http://example.com" }), 101]
]

const declined: ReadonlyArray<RequestRow> = [
  ["POST", change(asks("POST / HTTP/1.1"), { "Content-Length": "0" }), 405],
  ["HEAD", asks("HEAD / HTTP/1.1"), 405],
  ["OPTIONS", asks("OPTIONS / HTTP/1.1"), 405],
  ["HTTP/1.0", asks("GET / HTTP/1.0"), 505],
  ["no HTTP at all", ["Hello"], 400],
  ["a target with a fragment", asks("GET /#a HTTP/1.1"), 400],
  ["the target *", asks("GET * HTTP/1.1"), 400],
  ["no Upgrade", has({ Upgrade: undefined }), 426],
  ["an empty Upgrade", has({ Upgrade: "" }), 426],
  ["Upgrade: h2c", has({ Upgrade: "h2c" }), 426],
  ["Upgrade: websockets", has({ Upgrade: "websockets" }), 426],
  ["no Connection", has({ Connection: undefined }), 400],
  ["Connection: keep-alive", has({ Connection: "keep-alive" }), 400],
  ["Connection: Upgrades", has({ Connection: "Upgrades" }), 400],
  ["no version", has({ "Sec-WebSocket-Version": undefined }), 400],
  ["an empty version", has({ "Sec-WebSocket-Version": "" }), 426],
  ["version 0", has({ "Sec-WebSocket-Version": "0" }), 426],
  ["version 7", has({ "Sec-WebSocket-Version": "7" }), 426],
  ["version 8", has({ "Sec-WebSocket-Version": "8" }), 426],
  ["version 12", has({ "Sec-WebSocket-Version": "12" }), 426],
  ["version 14", has({ "Sec-WebSocket-Version": "14" }), 426],
  ["version 013", has({ "Sec-WebSocket-Version": "013" }), 426],
  ["versions 13 and 13", has({ "Sec-WebSocket-Version": ["13", "13"] }), 426],
  ["no key", has({ "Sec-WebSocket-Key": undefined }), 400],
  ["an empty key", has({ "Sec-WebSocket-Key": "" }), 400],
  ["a key of 15 bytes", has({ "Sec-WebSocket-Key": Buffer.alloc(15).toString("base64") }), 400],
  ["a key of 17 bytes", has({ "Sec-WebSocket-Key": Buffer.alloc(17).toString("base64") }), 400],
  ["a key without padding", has({ "Sec-WebSocket-Key": sampleKey.slice(0, 22) }), 400],
  ["a key that is no base64", has({ "Sec-WebSocket-Key": "!".repeat(22) + "==" }), 400],
  ["two keys", has({ "Sec-WebSocket-Key": [sampleKey, sampleKey] }), 400],
  ["no Host", has({ Host: undefined }), 400],
  ["an empty Host", has({ Host: "" }), 400],
  ["two Hosts", has({ Host: ["127.0.0.1", "127.0.0.1"] }), 400],
  ["an invalid Host", has({ Host: "a b" }), 400],
  ["an empty list of subprotocols", has({ "Sec-WebSocket-Protocol": "" }), 400],
  ["a subprotocol that is no token", has({ "Sec-WebSocket-Protocol": "a b" }), 400],
  ["the same subprotocol twice", has({ "Sec-WebSocket-Protocol": "a, a" }), 400],
  ["an empty list of extensions", has({ "Sec-WebSocket-Extensions": "" }), 400],
  ["a parameter without a name", has({ "Sec-WebSocket-Extensions": "a; =1" }), 400],
  ["a quote that is not closed", has({ "Sec-WebSocket-Extensions": "a; b=\"c" }), 400],
  ["a quoted value that is no token", has({ "Sec-WebSocket-Extensions": "a; b=\"c d\"" }), 400],
  ["a header without a colon", [...goodRequest, "X-Broken"], 400],
  ["NUL in a header", has({ "X-Broken": "a\0b" }), 400],
  ["17 KiB of headers", has({ "X-Long": "x".repeat(17 * 1024) }), 431, "own"],
  ["the page of another host", has({ Origin: "http://elsewhere.example" }), 403, "own"],
  ["a page without a host", has({ Origin: "null" }), 403, "own"]
]

const request = (id: string, [about, lines, status, own]: RequestRow, i: number): Request => ({
  kind: "request",
  id: `${id}.${i + 1}`,
  about,
  text: head(lines),
  own: own !== undefined,
  status
})

// -----------------------------------------------------------------------------
// Responses
// -----------------------------------------------------------------------------

interface ResponseRow {
  readonly about: string
  readonly text: string
  readonly error?: string
  readonly ends?: boolean
}

const gives = (about: string, changes: Changes, error?: string): ResponseRow => ({
  about,
  text: head(change(goodResponse, changes)),
  ...error === undefined ? {} : { error }
})

const says = (about: string, line: string, error: string, changes: Changes = {}): ResponseRow => ({
  about,
  text: head(change([line, "Content-Length: 0"], changes)),
  error
})

const responses: ReadonlyArray<ResponseRow> = [
  gives("what the RFC asks for", {}),
  gives("names and values in capitals", { Upgrade: undefined, UPGRADE: "WEBSOCKET", CONNECTION: "UPGRADE" }),
  gives("further headers", { Server: "test", "Set-Cookie": ["a=1", "b=2"] }),
  gives("a subprotocol that was offered", { "Sec-WebSocket-Protocol": "b" }),
  gives("no Upgrade", { Upgrade: undefined }, "InvalidUpgradeHeader"),
  gives("Upgrade: h2c", { Upgrade: "h2c" }, "InvalidUpgradeHeader"),
  gives("Upgrade: websocket, h2c", { Upgrade: "websocket, h2c" }, "InvalidUpgradeHeader"),
  gives("no Connection", { Connection: undefined }, "InvalidConnectionHeader"),
  gives("Connection: close", { Connection: "close" }, "InvalidConnectionHeader"),
  gives("no Sec-WebSocket-Accept", { "Sec-WebSocket-Accept": undefined }, "MissingHeader"),
  gives("an empty Sec-WebSocket-Accept", { "Sec-WebSocket-Accept": "" }, "InvalidAccept"),
  gives("the answer to another key", { "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" }, "InvalidAccept"),
  gives("the right answer twice", { "Sec-WebSocket-Accept": ["{accept}", "{accept}"] }, "InvalidAccept"),
  gives("a subprotocol that was not offered", { "Sec-WebSocket-Protocol": "c" }, "UnsolicitedProtocol"),
  gives("a subprotocol in other letters", { "Sec-WebSocket-Protocol": "B" }, "UnsolicitedProtocol"),
  gives("two subprotocols", { "Sec-WebSocket-Protocol": "a, b" }, "UnsolicitedProtocol"),
  gives("two headers with subprotocols", { "Sec-WebSocket-Protocol": ["a", "b"] }, "UnsolicitedProtocol"),
  gives("an empty subprotocol", { "Sec-WebSocket-Protocol": "" }, "UnsolicitedProtocol"),
  gives("an extension that was not offered", { "Sec-WebSocket-Extensions": "x-unknown" }, "UnsolicitedExtension"),
  gives("an invalid extension", { "Sec-WebSocket-Extensions": "x;;" }, "InvalidExtensionHeader"),
  says("200", "HTTP/1.1 200 OK", "HandshakeRejected"),
  says("204", "HTTP/1.1 204 No Content", "HandshakeRejected"),
  says("301 with a Location", "HTTP/1.1 301 Moved Permanently", "HandshakeRedirected", { Location: "/there" }),
  says("302 without a Location", "HTTP/1.1 302 Found", "HandshakeRejected"),
  says("400", "HTTP/1.1 400 Bad Request", "HandshakeRejected"),
  says("401", "HTTP/1.1 401 Unauthorized", "HandshakeRejected", { "WWW-Authenticate": "Basic" }),
  says("426", "HTTP/1.1 426 Upgrade Required", "HandshakeRejected", { "Sec-WebSocket-Version": "8" }),
  says("503", "HTTP/1.1 503 Service Unavailable", "HandshakeRejected"),
  { about: "no HTTP at all", text: "Hello\r\n\r\n", error: "ConnectFailed" },
  { about: "a frame instead of a response", text: "\x81\x05Hello", error: "ConnectFailed" },
  { about: "a header without a colon", text: head([...goodResponse, "X-Broken"]), error: "ConnectFailed" },
  gives("NUL in a header", { "X-Broken": "a\0b" }, "ConnectFailed"),
  gives("100 KiB of headers", { "X-Long": "x".repeat(100 * 1024) }, "ConnectFailed"),
  { about: "nothing, and the end of TCP", text: "", error: "ConnectFailed", ends: true },
  { about: "half a response, and the end of TCP", text: goodResponse[0], error: "ConnectFailed", ends: true }
]

const response = ({ about, ends, error, text }: ResponseRow, i: number): Response => ({
  kind: "response",
  id: `R.${i + 1}`,
  about,
  text,
  ends: ends ?? false,
  protocols: text.includes("Sec-WebSocket-Protocol") ? ["a", "b"] : [],
  error
})

export const handshakes: ReadonlyArray<Section> = [
  {
    id: "H",
    title: "Requests to a server",
    cases: [
      ...accepted.map((row, i) => request("H.1", row, i)),
      ...declined.map((row, i) => request("H.2", row, i))
    ]
  },
  { id: "R", title: "Responses to a client", cases: responses.map(response) }
]
