/**
 * What a server owes to a request, by another reading of RFC 9112 and RFC 6455
 * than that of the library: with regular expressions, and only where they leave
 * no doubt.
 */

/** A handshake gets 101, an ordinary request the answer of the program, another one a status from 400. */
export type Owed = "handshake" | "ordinary" | "refusal"

const pchar = String.raw`(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})`
const requestLine = new RegExp(
  String.raw`^(\w+) (?:\/(?:${pchar}|\/)*(?:\?(?:${pchar}|[\/?])*)?) HTTP\/1\.([01])$`
)
const fieldLine =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*$/
const host = /^[a-z]{2,}(?:\.[a-z]{2,})*(?::[1-9]\d{0,3})?$/i
const key = /^[A-Za-z0-9+/]{22}==$/
const extensions = /^[\w-]+(?:; ?[\w-]+(?:=\w+)?)*(?:, ?[\w-]+(?:; ?[\w-]+(?:=\w+)?)*)*$/
/** What Node's parser reads for itself, and not in all forms that the RFC has. */
const plainList = /^[\w-]+(?:, ?[\w-]+)*$/

/** Undefined where the RFCs leave a choice, or the regular expressions do not say. */
export const judge = (text: string): Owed | undefined => {
  const end = text.indexOf("\r\n\r\n")
  if (end < 0) return undefined
  const [first, ...lines] = text.slice(0, end).split("\r\n")
  const line = requestLine.exec(first)
  const fields = lines.map((field) => fieldLine.exec(field))
  // Not every Node takes such a value for an upgrade.
  if (lines.some((field) => /^connection:.*\t/i.test(field))) return undefined
  if (line === null || fields.includes(null) || lines.length > 100 || end > 8000) return undefined
  const [, method, minor] = line
  const values = (name: string) => fields.flatMap((field) => field![1].toLowerCase() === name ? [field![2]] : [])
  const lists = (name: string, item: string) =>
    values(name).some((value) => value.toLowerCase().split(/, ?/).includes(item))
  const unusual = ["connection", "upgrade"].some((name) => values(name).some((value) => !plainList.test(value)))
  const otherwise = ["transfer-encoding", "content-length", "proxy-connection"]
  if (unusual || otherwise.some((name) => values(name).length > 0)) return undefined
  if (values("expect").some((value) => value.toLowerCase() !== "100-continue")) return undefined

  const hosts = values("host")
  if (hosts.length === 0) return minor === "1" ? "refusal" : undefined
  const asksForUpgrade = lists("upgrade", "websocket") && lists("connection", "upgrade")
  // Node lets an ordinary request name several.
  if (hosts.length > 1) return asksForUpgrade ? "refusal" : undefined
  if (!host.test(hosts[0])) return undefined
  if (!asksForUpgrade) {
    // Bytes behind it would be a request of their own.
    const isAlone = end + 4 === text.length
    return isAlone && minor === "1" && (method === "GET" || method === "OPTIONS") ? "ordinary" : undefined
  }
  if (!values("sec-websocket-extensions").every((value) => extensions.test(value))) return undefined
  const protocols = values("sec-websocket-protocol").flatMap((value) => value.split(/, ?/))
  if (!protocols.every((protocol) => /^[a-z0-9]+$/.test(protocol))) return undefined
  const isHandshake = method === "GET" && minor === "1" && new Set(protocols).size === protocols.length &&
    values("sec-websocket-version").join() === "13" && key.test(values("sec-websocket-key").join())
  return isHandshake ? "handshake" : "refusal"
}
