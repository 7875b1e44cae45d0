/** URLs: what of them may be shown, what they say of a server, and where a Location leads. */
import { toBase64 } from "#platform"

const encoder = new TextEncoder()

/**
 * A URL as it was written, whether it is one or not, without its user, password,
 * query and fragment. An unescaped "/", "?" or "#" may stand in a password, so
 * nothing before the last "@" is shown but the scheme: another scheme than these
 * may be the user itself.
 */
export const redact = (text: string): string => {
  const scheme = /^\s*(?:(?:ws|http)s?:)?[/\\\s]*/i.exec(text)![0]
  const rest = text.slice(scheme.length)
  const end = rest.search(/[?#]/)
  if (end < 0) return scheme + hideCredentials(rest)
  return scheme + (rest.includes("@", end) ? "***" : hideCredentials(rest.slice(0, end)))
}

/** The path of a URL, without what may be a password with an unescaped "/". */
export const shownPath = ({ pathname }: URL): string => pathname.replace(/^.*@/s, "/***@")

/** Where a valid URL leads to: without user, password, query and fragment. */
export const shown = (url: URL): string => `${url.protocol}//${url.host}${shownPath(url)}`

const hideCredentials = (text: string): string => text.replace(/^.*@/s, "***@")

/**
 * Where a Location header leads to from a URL. HTTP parsers give each byte as a
 * character. A byte beyond ASCII is escaped as it is: browsers do the same, so
 * that a path in UTF-8 stays the one that the server wrote.
 */
export const resolveLocation = (location: string, base: string): string => {
  const escaped = location.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`)
  return parse(escaped, base)?.href ?? escaped
}

/** Parses a URL. `URL.canParse` is of no use for text beyond ASCII: once optimized, that of Node 20 rejects such hosts. */
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

/** The port of a URL, or else that of its scheme. */
export const portOf = ({ port, protocol }: URL): number =>
  port !== "" ? Number(port) : protocol === "wss:" || protocol === "https:" ? 443 : 80

/** Whether the user and the password can be decoded. */
export const hasEncodedCredentials = ({ password, username }: URL): boolean => {
  try {
    decodeURIComponent(username + password)
    return true
  } catch {
    return false
  }
}

/** The user and the password as Authorization has them (RFC 7617 §2), if the URL has any. */
export const basicAuthorization = ({ password, username }: URL): string | undefined =>
  username === "" && password === ""
    ? undefined
    : `Basic ${toBase64(encoder.encode(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`))}`
