/** The URL that a page connects to. It may be relative to that of the page. */
import * as Result from "effect/Result"
import type { InvalidUrl } from "../../HandshakeError.ts"
import { parseUrl } from "../handshake/parseUrl.ts"
import { parse } from "../protocol/url.ts"
import { textOf } from "../runtime/describe.ts"

/** The URL of the page or the worker; undefined outside a browser. */
export const pageUrl = (): string | undefined => (globalThis as { location?: { href: string } }).location?.href

export const resolveTarget = (url: string | URL, base = pageUrl()): Result.Result<URL, InvalidUrl> => {
  const text = textOf(url)
  const relative = base !== undefined && parse(text) === undefined ? parse(text, base) : undefined
  return parseUrl(relative ?? text)
}
