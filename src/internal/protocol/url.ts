/** URLs: redaction for messages and spans, host and port, credentials, and Locations. */
import { toBase64 } from "#platform"

const encoder = new TextEncoder()

/**
 * Removes user, password, query and fragment from a text that may be a URL. A
 * password may contain an unescaped "/", "?" or "#", so of the text before the last
 * "@" only the scheme stays; an unknown scheme may be the user.
 */
export const redact = (text: string): string => {
  const scheme = /^\s*(?:(?:ws|http)s?:)?[/\\\s]*/i.exec(text)![0]
  const rest = text.slice(scheme.length)
  const end = rest.search(/[?#]/)
  if (end < 0) return scheme + hideCredentials(rest)
  return scheme + (rest.includes("@", end) ? "***" : hideCredentials(rest.slice(0, end)))
}

/** The path of a URL, without the parts that may belong to a password with an unescaped "/". */
export const shownPath = ({ pathname }: URL): string => pathname.replace(/^.*@/s, "/***@")

/** A valid URL without user, password, query and fragment. */
export const shown = (url: URL): string => `${url.protocol}//${url.host}${shownPath(url)}`

const hideCredentials = (text: string): string => text.replace(/^.*@/s, "***@")

/**
 * Resolves a Location header against a URL. HTTP parsers return each byte as a
 * character. Bytes beyond ASCII are escaped one by one, as in browsers, so that a
 * path in UTF-8 stays the path that the server wrote.
 */
export const resolveLocation = (location: string, base: string): string => {
  const escaped = location.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`)
  return parse(escaped, base)?.href ?? escaped
}

/** Parses a URL. The optimized `URL.canParse` of Node 20 rejects hosts beyond ASCII, so it is not used here. */
export const parse = (text: string, base?: string): URL | undefined => {
  try {
    return new URL(text, base)
  } catch {
    return undefined
  }
}

const hostPattern = /^(\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+;=-]+)(:\d{0,5})?$/i

/** The last valid one: nearly all requests to a server name the same host. */
let lastHost: string | undefined

/** Whether a text is a name, an IPv4 address or an IPv6 address in brackets, with an optional port (RFC 3986 §3.2.2). */
export const isHost = (text: string): boolean => {
  if (text === lastHost) return true
  if (!hostPattern.test(text) || !URL.canParse(`http://${text}`)) return false
  lastHost = text
  return true
}

/** The host of a URL, without the brackets of an IPv6 address. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, "")

/** The port of a URL. Default: the port of its scheme. */
export const portOf = ({ port, protocol }: URL): number =>
  port !== "" ? Number(port) : protocol === "wss:" || protocol === "https:" ? 443 : 80

/** Whether user and password are percent-encoded. */
export const hasEncodedCredentials = ({ password, username }: URL): boolean => {
  try {
    decodeURIComponent(username + password)
    return true
  } catch {
    return false
  }
}

/** The Authorization header for user and password (RFC 7617 §2); undefined if the URL has neither. */
export const basicAuthorization = ({ password, username }: URL): string | undefined =>
  username === "" && password === ""
    ? undefined
    : `Basic ${toBase64(encoder.encode(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`))}`
