/** The opening handshake, given headers. */
import { Result } from "effect"
import { Extension, Handshake } from "effect-ws"
import { strict as assert } from "node:assert"
import { isFieldValue, isToken } from "../../src/internal/protocol/headerSyntax.ts"
import type { Target } from "./engine.ts"
import type { Choices } from "./random.ts"

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1")
const bytesOf = (text: string): Uint8Array => Buffer.from(text, "latin1")

const key = "dGhlIHNhbXBsZSBub25jZQ=="

/** What headers of the handshake are made of. */
export const words = [
  ..."\",;=\\ \t\0\r\n:/?#@[]%",
  "websocket",
  "Upgrade",
  "upgrade, keep-alive",
  "permessage-deflate",
  "; server_no_context_takeover",
  "; client_max_window_bits=\"10\"",
  "__proto__",
  "constructor",
  "chat",
  "13",
  "8, 13",
  "GET",
  "HTTP/1.1",
  "http://a.test/",
  "example.com:8080",
  "[::1]",
  key,
  Handshake.acceptKey(key),
  "\r\n\r\n",
  "Host: ",
  "Origin: https://example.com",
  "Sec-WebSocket-Protocol: ",
  "Sec-WebSocket-Extensions: ",
  "Content-Length: 5",
  "Transfer-Encoding: chunked",
  "Expect: 100-continue",
  "\u00e9\u00ff"
]

const anyExtensions = (choices: Choices): string =>
  Array.from({ length: 1 + choices.below(4) }, () => {
    const parameters = Array.from({ length: choices.below(4) }, () => {
      const name = choices.pick(["client_max_window_bits", "a", "server_no_context_takeover", "__proto__"])
      return `; ${name}${choices.pick(["", "=10", "=\"15\"", "=\"a\\b\"", " = x", "=\"", "=\"\""])}`
    })
    return choices.pick(["permessage-deflate", "x-a", "constructor", ""]) + parameters.join("")
  }).join(choices.pick([", ", ",", " , ,"]))

export const extensionHeader: Target = {
  name: "extension-header",
  words,
  generate: (choices) => {
    const header = anyExtensions(choices)
    return bytesOf(choices.oneIn(20) ? header.repeat(1 + choices.size(2000)) : header)
  },
  run: (input) => {
    const entries = Extension.parse(latin1(input))
    if (entries === undefined) return "refused"
    for (const { name, parameters } of entries) {
      assert.ok(isToken(name), "a name is a token")
      for (const parameter of parameters) {
        assert.ok(isToken(parameter.name) && isToken(parameter.value ?? "x"), "a parameter is made of tokens")
      }
    }
    assert.deepEqual(Extension.parse(Extension.format(entries)), entries, "what is written is what was read")
    return entries.slice(0, 4).map(({ parameters }) => Math.min(4, parameters.length)).join(" ")
  }
}

/** Lines, as they are, and with one of them left out, doubled or replaced now and then. */
const spoilLines = (choices: Choices, lines: Array<string>): Array<string> => {
  const at = choices.below(lines.length)
  switch (choices.below(6)) {
    case 0:
      return lines.toSpliced(at, 1)
    case 1:
      return lines.toSpliced(at, 0, choices.pick(lines))
    case 2:
      return lines.toSpliced(at, 1, lines[at] + choices.pick(words))
    default:
      return lines
  }
}

const anyTarget = (choices: Choices): string => {
  const part = () =>
    choices.pick(["", "a", "%20", "..", ";v=1", "@", "~", ":", "*", "a+b", "%zz", "\u00fc", "|", "{}", "\\", "\""])
  const path = Array.from({ length: 1 + choices.below(4) }, () => `/${part()}`).join("")
  const query = choices.oneIn(2) ? `?${part()}=${part()}&${part()}` : ""
  const before = choices.pick(["", "", "", "", "http://a.test:80", "wss://[::1]", "//", "ftp://a", "http:"])
  return before + path + query + (choices.oneIn(12) ? "#x" : "")
}

/** As the RFC allows to write it: white space around the value, and a name in any case. */
const written = (choices: Choices, name: string, value: string): string => {
  const cased = choices.pick([name, name, name.toLowerCase(), name.toUpperCase()])
  return `${cased}:${choices.pick([" ", " ", " ", " ", " ", " ", "", "  ", "\t"])}${value}${
    choices.pick(["", "", "", "", "", "", "", " ", "\t"])
  }`
}

const fieldNames = ["X-A", "!#$%&'*+-.^_`|~", "constructor", "__proto__", "Cookie", "X A", "X(A)", "", "Forwarded"]
const fieldValues = [
  "",
  "a",
  "a, b",
  "\"quoted, \\\" comma\"",
  "\u00e9\u00ff",
  "a\tb",
  "x".repeat(300),
  "a\u0000b",
  "a\u007fb"
]

export const requestLines = (choices: Choices): Array<string> => {
  /** What is usual, mostly, so that whole requests are in order often enough. */
  const mostly = (usual: string, ...others: ReadonlyArray<string>) => choices.oneIn(6) ? choices.pick(others) : usual
  const line = (name: string, usual: string, ...others: ReadonlyArray<string>) =>
    written(choices, name, mostly(usual, ...others))
  const rarely = (n: number, name: string, ...values: ReadonlyArray<string>) =>
    choices.oneIn(n) ? [written(choices, name, choices.pick(values))] : []
  const target = choices.oneIn(2) ? "/a?b=c" : anyTarget(choices)
  return spoilLines(choices, [
    `${mostly("GET", "POST", "OPTIONS")} ${target} ${mostly("HTTP/1.1", "HTTP/1.0", "HTTP/2.0")}`,
    line(
      "Host",
      choices.pick(["example.com", "Example.COM:80"]),
      ...[
        "[::1]:8080",
        "127.0.0.1",
        "a_b.test",
        "xn--a.test",
        "%41.test",
        "a b",
        "a:b",
        "a:99999",
        "user@a",
        "a/b",
        ""
      ],
      ...["a.test, b.test", "[::1", "256.1.1.1"]
    ),
    line("Upgrade", "websocket", "WebSocket", "h2c", "h2c, websocket", "TLS/1.0", "websocket/13"),
    line(
      "Connection",
      "Upgrade",
      "keep-alive, upgrade",
      "Upgrade, HTTP2-Settings",
      "close",
      "close, Upgrade",
      "upgraded"
    ),
    line("Sec-WebSocket-Key", key, key.slice(0, -1), key.replace("d", "-")),
    line("Sec-WebSocket-Version", "13", "8", "13, 8"),
    ...rarely(2, "Origin", "http://example.com", "https://example.com:80", "null", "x"),
    ...rarely(2, "Sec-WebSocket-Protocol", "chat", "chat, v2", "a,,b", "a, a", ""),
    ...choices.oneIn(3) ? [written(choices, "Sec-WebSocket-Extensions", anyExtensions(choices))] : [],
    ...rarely(6, "Expect", "100-continue", "100-Continue", "200-ok"),
    ...rarely(12, "Content-Length", "0", "00", "5", "-1"),
    ...rarely(20, "Transfer-Encoding", "chunked", "identity"),
    ...choices.oneIn(2) ? [line(choices.pick(fieldNames), "a", ...fieldValues)] : []
  ])
}

/** Header lines, as names and values; what is no header line is passed over. */
const headersOf = (lines: ReadonlyArray<string>): Handshake.RawHeaders =>
  lines.flatMap((line) => {
    const colon = line.indexOf(":")
    return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1).trim()] as const]
  })

/** A response must not carry what a peer sent into its head. */
const checkResponse = ({ rawHeaders, status }: Handshake.HttpResponse): void => {
  assert.ok(status === 101 || (status >= 400 && status <= 599), `status ${status}`)
  for (const [name, value] of rawHeaders) assert.ok(isToken(name) && isFieldValue(value), "headers can be written")
}

export const upgradeRequest: Target = {
  name: "upgrade-request",
  words,
  generate: (choices) => bytesOf(requestLines(choices).join("\r\n")),
  run: (input) => {
    const [requestLine, ...lines] = latin1(input).split("\r\n")
    const [method = "", target = "", version = ""] = requestLine.split(" ")
    const rawHeaders = headersOf(lines)
    const request = Handshake.readRequest({ method, target, httpVersion: version.replace("HTTP/", ""), rawHeaders })
    if (Result.isFailure(request)) {
      checkResponse(Handshake.errorResponse(request.failure))
      return request.failure._tag
    }
    const { extensions, host, path, protocols } = request.success
    assert.ok(path.startsWith("/") && !path.includes("?"), "a path")
    assert.ok(URL.canParse(`http://${host}`), "a host")
    assert.ok(
      protocols.every(isToken) && new Set(protocols).size === protocols.length,
      "protocols are tokens, each once"
    )
    const origin = Handshake.checkOrigin(request.success, "same-origin")
    const overTls = Handshake.checkOrigin({ ...request.success, secure: true }, "same-origin")
    assert.equal(
      Result.isSuccess(overTls),
      Result.isSuccess(origin) && !(request.success.origin?.startsWith("http:") ?? false),
      "over TLS, the same but http pages"
    )
    if (Result.isFailure(origin)) checkResponse(Handshake.errorResponse(origin.failure))
    const accepted = Handshake.acceptResponse(request.success, { protocol: protocols[0], extensions })
    assert.ok(Result.isSuccess(accepted), "what was offered can be accepted")
    checkResponse(accepted.success)
    return `accepted ${protocols.length} ${extensions.length} ${Result.isSuccess(origin)}`
  }
}

export const responseLines = (choices: Choices): Array<string> =>
  spoilLines(choices, [
    choices.pick([
      "HTTP/1.1 101 Switching Protocols",
      "HTTP/1.1 101 Switching Protocols",
      "HTTP/1.0 101 Switching Protocols",
      "HTTP/1.1 302 Found",
      "HTTP/1.1 404 Not Found",
      "HTTP/1.1 100 Continue"
    ]),
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${Handshake.acceptKey(key)}`,
    ...choices.oneIn(2) ? [`Sec-WebSocket-Protocol: ${choices.pick(["chat", "v2", "other", "chat, v2"])}`] : [],
    ...choices.oneIn(3) ? [`Sec-WebSocket-Extensions: ${anyExtensions(choices)}`] : [],
    ...choices.oneIn(3) ? [`Location: ${choices.pick(["/x", "//b.test", "http://", "wss://c.test/y", ""])}`] : []
  ])

/** The request that responses are read for. */
export const request = Result.getOrThrow(Handshake.makeRequest("ws://example.com/a", key, {
  protocols: ["chat", "v2"],
  extensions: [{ name: "permessage-deflate", parameters: [] }, { name: "x-a", parameters: [] }]
}))

export const clientResponse: Target = {
  name: "client-response",
  words,
  generate: (choices) => bytesOf(responseLines(choices).join("\r\n")),
  run: (input) => {
    const [statusLine, ...lines] = latin1(input).split("\r\n")
    const status = Number(statusLine.split(" ")[1])
    const httpVersion = statusLine.split(" ")[0].replace("HTTP/", "")
    const verdict = Handshake.readResponse(request, { status, httpVersion, rawHeaders: headersOf(lines), body: "" })
    if (Result.isFailure(verdict)) {
      assert.ok(verdict.failure.message.length > 0)
      return verdict.failure._tag
    }
    const read = verdict.success
    assert.deepEqual(
      Handshake.headerValues(read.rawHeaders, "upgrade").join(", "),
      read.headers["upgrade"] ?? "",
      "values apart are those that are joined"
    )
    if (read._tag !== "Accepted") return read._tag
    assert.match(httpVersion, /^1\.[1-9]$/)
    assert.ok(read.protocol === undefined || request.protocols.includes(read.protocol), "a protocol that was offered")
    return `Accepted ${read.protocol} ${read.extensions.length} ${lines.length}`
  }
}
