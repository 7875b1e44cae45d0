/** HTTP headers (RFC 9110 §5): checks for writing, and scanners for values, in time linear in their input. */
import * as Result from "effect/Result"
import type { HeadersInput } from "../../Handshake.ts"
import { InvalidHeader } from "../../HandshakeError.ts"

const tokenCharacters = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
const tokenTable = new Uint8Array(128)
for (let i = 0; i < tokenCharacters.length; i++) tokenTable[tokenCharacters.charCodeAt(i)] = 1

export const isTokenCode = (code: number): boolean => code < 128 && tokenTable[code] === 1

/** Whether `value` is a token: one character or more, none of them a delimiter (RFC 9110 §5.6.2). */
export const isToken = (value: string): boolean => {
  if (value.length === 0) return false
  for (let i = 0; i < value.length; i++) {
    if (!isTokenCode(value.charCodeAt(i))) return false
  }
  return true
}

/** Whether `value` is valid in a header field (RFC 9110 §5.5): no CR, LF, NUL or other control character. */
export const isFieldValue = (value: string): boolean => {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false
  }
  return true
}

const isSpace = (code: number): boolean => code === 0x20 || code === 0x09

/** A scanner over a header value, for grammars of tokens, delimiters and white space. */
export class Scanner {
  private readonly value: string
  at = 0

  constructor(value: string) {
    this.value = value
  }

  get done(): boolean {
    return this.at >= this.value.length
  }

  /** Skips spaces and tabs. */
  skipSpace(): void {
    while (isSpace(this.value.charCodeAt(this.at))) this.at++
  }

  /** Skips `character` if it is next, and returns whether it was. */
  skip(character: string): boolean {
    if (this.value[this.at] !== character) return false
    this.at++
    return true
  }

  /** Reads a token; "" if there is no token at this position. */
  token(): string {
    const from = this.at
    while (isTokenCode(this.value.charCodeAt(this.at))) this.at++
    return this.value.slice(from, this.at)
  }

  /** Reads the rest of a quoted string, after its opening quote; undefined if there is no closing quote. */
  quoted(): string | undefined {
    let text = ""
    while (this.at < this.value.length) {
      const character = this.value[this.at++]
      if (character === "\"") return text
      if (character === "\\") {
        if (this.done) return undefined
        text += this.value[this.at++]
      } else text += character
    }
    return undefined
  }
}

/**
 * Parses `1#element`: a list with commas between its elements, some of which may
 * be empty (RFC 9110 §5.6.1). Returns undefined if an element is invalid or the
 * list has no element.
 */
export const parseList = <A>(value: string, element: (scanner: Scanner) => A | undefined): Array<A> | undefined => {
  const scanner = new Scanner(value)
  const elements: Array<A> = []
  for (;;) {
    scanner.skipSpace()
    if (!scanner.done && !scanner.skip(",")) {
      const next = element(scanner)
      if (next === undefined) return undefined
      elements.push(next)
      scanner.skipSpace()
      if (!scanner.done && !scanner.skip(",")) return undefined
    }
    if (scanner.done) return elements.length === 0 ? undefined : elements
  }
}

/** Parses a list of tokens, as in Sec-WebSocket-Protocol. */
export const parseTokens = (value: string): Array<string> | undefined =>
  parseList(value, (scanner) => scanner.token() || undefined)

/** Whether a list, such as that of Connection, includes `token`, in upper or lower case. */
export const listIncludes = (value: string | undefined, token: string): boolean =>
  value !== undefined &&
  (value.toLowerCase() === token || value.split(",").some((element) => trim(element).toLowerCase() === token))

/** Removes spaces and tabs on both sides (RFC 9110 §5.6.3). `String.trim` would remove other characters, too. */
const trim = (text: string): string => {
  let start = 0
  let end = text.length
  while (start < end && isSpace(text.charCodeAt(start))) start++
  while (start < end && isSpace(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

/** Converts headers to a record by lower-case name, and joins the values of repeated ones (RFC 9110 §5.3). */
export const combineHeaders = (pairs: ReadonlyArray<readonly [string, string]>): Record<string, string> => {
  const headers: Record<string, string> = Object.create(null)
  for (const [name, value] of pairs) {
    const key = name.toLowerCase()
    const before = headers[key]
    headers[key] = before === undefined ? value : before + (key === "cookie" ? "; " : ", ") + value
  }
  return headers
}

/** The values of one header, in order. */
export const headerValues = (pairs: ReadonlyArray<readonly [string, string]>, name: string): ReadonlyArray<string> => {
  const wanted = name.toLowerCase()
  return pairs.flatMap(([header, value]) => header.toLowerCase() === wanted ? [value] : [])
}

/** Checks the headers of a program. The handshake sets those in `reserved` itself. */
export const checkedHeaders = (
  input: HeadersInput | undefined,
  reserved: ReadonlySet<string>
): Result.Result<Array<readonly [string, string]>, InvalidHeader> => {
  const pairs: Array<readonly [string, string]> = []
  for (const [header, given] of Object.entries(input ?? {})) {
    const invalid = (problem: string) => Result.fail(new InvalidHeader({ header, problem }))
    if (!isToken(header)) return invalid("expected a name of letters, digits and !#$%&'*+-.^_`|~")
    if (reserved.has(header.toLowerCase())) return invalid("expected a header that the handshake does not set itself")
    for (const value of typeof given === "string" ? [given] : given) {
      if (!isFieldValue(value)) {
        return invalid("expected a value of Latin-1 characters without line breaks, NUL and other control characters")
      }
      pairs.push([header, value])
    }
  }
  return Result.succeed(pairs)
}
