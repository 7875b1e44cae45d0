/** Handshakes as data: the example of the RFC, and what tests read from results. */
import { assert } from "@effect/vitest"
import { Result } from "effect"
import { type Extension, Handshake } from "effect-ws"

export type Pairs = Handshake.RawHeaders

export type Facts = Readonly<Record<string, unknown>>

export const succeed = <A, E>(result: Result.Result<A, E>): A => {
  if (Result.isFailure(result)) return assert.fail(JSON.stringify(result.failure))
  return result.success
}

export const factsOf = <E extends object>(result: Result.Result<unknown, E>): Facts => {
  if (Result.isSuccess(result)) return assert.fail(`succeeded: ${JSON.stringify(result.success)}`)
  return { ...result.failure } as Facts
}

export const sampleKey = "dGhlIHNhbXBsZSBub25jZQ=="

export const sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/** The handshake of RFC 6455 §1.2. */
export const sample: Pairs = [
  ["Host", "server.example.com"],
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Key", sampleKey],
  ["Origin", "http://example.com"],
  ["Sec-WebSocket-Protocol", "chat, superchat"],
  ["Sec-WebSocket-Version", "13"]
]

/** The sample with some headers replaced, removed (undefined) or added. */
export const withHeaders = (changes: Readonly<Record<string, string | undefined>>, pairs: Pairs = sample): Pairs => {
  const changed = new Set(Object.keys(changes).map((name) => name.toLowerCase()))
  const added = Object.entries(changes).flatMap(([name, value]) => value === undefined ? [] : [[name, value] as const])
  return [...pairs.filter(([name]) => !changed.has(name.toLowerCase())), ...added]
}

export const http = (changes: Partial<Handshake.HttpRequest> = {}): Handshake.HttpRequest => ({
  method: "GET",
  target: "/chat",
  httpVersion: "1.1",
  rawHeaders: sample,
  ...changes
})

export const read = (changes: Readonly<Record<string, string | undefined>> = {}) =>
  Handshake.readRequest(http({ rawHeaders: withHeaders(changes) }))

/** The request of a client to the server of the RFC's example. */
export const asked = (options?: Handshake.RequestOptions, url = "ws://server.example.com/chat") =>
  succeed(Handshake.makeRequest(url, sampleKey, options))

/** Invalid Sec-WebSocket-Keys: not 16 bytes in base64. */
export const badKeys = [
  "",
  "short",
  "AAAAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAA=",
  "AAAAAAAAAAAAAAAAAAAAAA===",
  "AAAAAAAAAAAAAAAAAAAAA===",
  "AAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAAA=",
  "AAAAAAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAA-==",
  "AAAAAAAAAAAAAAAAAAAA_==",
  "AAAAAAAAAAA AAAAAAAAAA==",
  " AAAAAAAAAAAAAAAAAAAAAA==",
  "AAAAAAAAAAAAAAAAAAAAAA== ",
  "AAAAAAAAAAAAAAAAAAAAAA==\n",
  "AAAAAAAAAAAAAAAAAAAAAA==\r\nX: y",
  `${sampleKey}, ${sampleKey}`
]

export const badName = "expected a name of letters, digits and !#$%&'*+-.^_`|~"

export const badValue = "expected a value of Latin-1 characters without line breaks, NUL and other control characters"

export const reserved = "expected a header that the handshake does not set itself"

export type BadHeaders = ReadonlyArray<readonly [input: Handshake.HeadersInput, header: string, problem: string]>

/** Headers that cannot be sent with anything, which of them that is, and why. */
export const badHeaders: BadHeaders = [
  [{ "": "a" }, "", badName],
  [{ "a b": "c" }, "a b", badName],
  [{ "a:": "c" }, "a:", badName],
  [{ "a\r\nB": "c" }, "a\r\nB", badName],
  [{ "a\0": "c" }, "a\0", badName],
  [{ "é": "c" }, "é", badName],
  [{ A: "b\r\nC: d" }, "A", badValue],
  [{ A: "b\n" }, "A", badValue],
  [{ A: "\r" }, "A", badValue],
  [{ A: "b\0c" }, "A", badValue],
  [{ A: "b\x7f" }, "A", badValue],
  [{ A: "\x1b[0m" }, "A", badValue],
  [{ A: "€" }, "A", badValue],
  [{ A: "😀" }, "A", badValue],
  [{ A: ["fine", "not\nfine"] }, "A", badValue],
  [{ Fine: "1", Worse: "\n", Bad: "\r" }, "Worse", badValue],
  [{ Connection: "close" }, "Connection", reserved],
  [{ "Content-Length": "0" }, "Content-Length", reserved],
  [{ "TRANSFER-encoding": "chunked" }, "TRANSFER-encoding", reserved],
  [{ Connection: [] }, "Connection", reserved],
  [{ connection: "\n" }, "connection", reserved],
  [{ Host: "a\r\nB: c" }, "Host", badValue],
  [{ Host: ["a\n"] }, "Host", badValue]
]

/** The headers of a handshake, which only a rejection may have. */
export const handshakeHeaders = [
  "upgrade",
  "Sec-WebSocket-Key",
  "SEC-WEBSOCKET-ACCEPT",
  "sec-websocket-version",
  "Sec-WebSocket-Protocol",
  "Sec-WebSocket-Extensions"
]

/** Headers that cannot be sent with a request, nor with a response that accepts it. */
export const badHandshakeHeaders: BadHeaders = [
  ...badHeaders,
  ...handshakeHeaders.flatMap((header): BadHeaders => [
    [{ [header]: "x" }, header, reserved],
    [{ [header]: [] }, header, reserved]
  ])
]

/** Headers that can be sent, and how. */
export const goodHeaders: ReadonlyArray<readonly [input: Handshake.HeadersInput, pairs: Pairs]> = [
  [{}, []],
  [{ "X-A": "b" }, [["X-A", "b"]]],
  [{ "Set-Cookie": ["a=1", "b=2"], "x-c": "d" }, [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["x-c", "d"]]],
  [{ A: [] }, []],
  [{ A: "" }, [["A", ""]]],
  [{ A: "tab\tand café" }, [["A", "tab\tand café"]]],
  [{ "!#$%&'*+-.^_`|~09": "x" }, [["!#$%&'*+-.^_`|~09", "x"]]],
  [{ constructor: "x", toString: "y" } as unknown as Handshake.HeadersInput, [["constructor", "x"], ["toString", "y"]]]
]

export const parameterOf = (name: string, value?: string): Extension.HeaderEntry => ({
  name: "a",
  parameters: [{ name, value }]
})

/** Invalid extensions: not all names and values are tokens. */
export const badExtensions: ReadonlyArray<ReadonlyArray<Extension.HeaderEntry>> = [
  ...["", "a b", "a;b", "a, b", "a=b", "\"a\"", "é", "a\0", "a\r\nX: y"].flatMap((text) => [
    [{ name: text, parameters: [] }],
    [parameterOf(text)],
    [parameterOf(text, "1")],
    [parameterOf("b", text)]
  ]),
  [{ name: "a", parameters: [{ name: "b", value: "1" }, { name: "c", value: "\n" }] }],
  [{ name: "a", parameters: [] }, { name: "b", parameters: [{ name: "c d", value: undefined }] }]
]

export const badExtension = {
  _tag: "InvalidHeader",
  header: "Sec-WebSocket-Extensions",
  problem: "expected tokens as names and values"
}
