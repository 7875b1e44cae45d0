/** Parses WebSocket URLs (RFC 6455 §3). */
import * as Result from "effect/Result"
import { InvalidUrl } from "../../HandshakeError.ts"
import { hasEncodedCredentials, parse, redact } from "../protocol/url.ts"
import { textOf } from "../runtime/describe.ts"

/** The http and https URLs that stand for ws and wss. */
const webSocketSchemes: Readonly<Record<string, string>> = { "http:": "ws:", "https:": "wss:" }

export const parseUrl = (url: string | URL): Result.Result<URL, InvalidUrl> => {
  const text = textOf(url)
  const invalid = (problem: string) => Result.fail(new InvalidUrl({ url: redact(text), problem }))
  const parsed = parse(text)
  if (parsed === undefined) return invalid("expected an absolute URL, such as wss://example.com/feed")
  parsed.protocol = webSocketSchemes[parsed.protocol] ?? parsed.protocol
  const problem = problemIn(parsed, text)
  return problem === undefined ? Result.succeed(parsed) : invalid(problem)
}

const problemIn = (url: URL, text: string): string | undefined => {
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    // In "user:password@host", the user is parsed as the scheme.
    return redact(text).trimStart().startsWith("***")
      ? "expected it to begin with ws:// or wss://"
      : `expected the scheme ws or wss, got ${url.protocol.slice(0, -1)}`
  }
  if (!hasEncodedCredentials(url)) {
    return "expected a percent-encoded user name and password; write % as %25"
  }
  if (url.href.includes("#")) return "expected no fragment; write # as %23 if it belongs to the path"
  // The parser drops line breaks, and would request another URL than the program's.
  if (hasControlCharacter(text)) return "expected no control characters, got a line break or another one"
  return undefined
}

const hasControlCharacter = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}
