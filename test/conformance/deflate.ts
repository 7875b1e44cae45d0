/** The peer's own half of permessage-deflate (RFC 7692), on the public API of node:zlib. */
import { promisify } from "node:util"
import * as Zlib from "node:zlib"

/** What was agreed on for one direction. */
export interface Way {
  readonly takeover: boolean
  readonly windowBits: number
}

/** What was agreed on for what clients send, and for what servers do. */
export interface Agreed {
  readonly client: Way
  readonly server: Way
}

type Parameters = ReadonlyMap<string, string | undefined>

/** The extensions in a header, whose values have no commas and semicolons in them here. */
const parse = (header: string): ReadonlyArray<{ readonly name: string; readonly parameters: Parameters }> =>
  header.split(",").map((entry) => {
    const [name, ...parameters] = entry.split(";").map((part) => part.trim())
    const pairs = parameters.map((parameter): [string, string | undefined] => {
      const [key, value] = parameter.split("=")
      return [key, value]
    })
    return { name, parameters: new Map(pairs) }
  })

const known = new Set([
  "server_no_context_takeover",
  "client_no_context_takeover",
  "server_max_window_bits",
  "client_max_window_bits"
])

const bitsOf = (parameters: Parameters, name: string): number => Number(parameters.get(name) ?? 15)

/** Whether an answer gives a client what one of its offers asks for (§7.1). */
const answers = (offer: Parameters, answer: Parameters): boolean =>
  Array.from(answer.keys()).every((name) => known.has(name))
  && (!offer.has("server_no_context_takeover") || answer.has("server_no_context_takeover"))
  && (!offer.has("server_max_window_bits") || answer.has("server_max_window_bits"))
  && bitsOf(answer, "server_max_window_bits") <= bitsOf(offer, "server_max_window_bits")
  && (offer.has("client_max_window_bits") || !answer.has("client_max_window_bits"))

/** What the answer to an offer comes to; a text says what is wrong with the two. */
export const agree = (offer: string | undefined, answer: string | undefined): Agreed | string => {
  if (offer === undefined || parse(offer).every(({ name }) => name !== "permessage-deflate")) return "offered nothing"
  if (answer === undefined) return "declined"
  const [{ name, parameters }, ...more] = parse(answer)
  const wanted = parse(offer).some((it) => it.name === name && answers(it.parameters, parameters))
  if (more.length > 0 || name !== "permessage-deflate" || !wanted) return `agreed on "${answer}" for "${offer}"`
  const way = (end: string): Way => ({
    takeover: !parameters.has(`${end}_no_context_takeover`),
    windowBits: bitsOf(parameters, `${end}_max_window_bits`)
  })
  return { client: way("client"), server: way("server") }
}

/** One message after the other. */
export type Codec = (message: Buffer) => Promise<Buffer>

/** A stream of zlib's that takes messages one by one, and keeps its window. */
const keeping = (stream: Zlib.DeflateRaw | Zlib.InflateRaw): Codec => {
  let made: Array<Buffer> = []
  stream.on("data", (chunk: Buffer) => made.push(chunk))
  return (input) =>
    new Promise((resolve, reject) => {
      stream.once("error", reject)
      stream.write(input)
      stream.flush(Zlib.constants.Z_SYNC_FLUSH, () => {
        stream.off("error", reject)
        const all = Buffer.concat(made)
        made = []
        resolve(all)
      })
    })
}

const deflateRaw = promisify<Buffer, Zlib.ZlibOptions, Buffer>(Zlib.deflateRaw)
const inflateRaw = promisify<Buffer, Zlib.ZlibOptions, Buffer>(Zlib.inflateRaw)
const finishFlush = Zlib.constants.Z_SYNC_FLUSH

const tail = Buffer.of(0x00, 0x00, 0xff, 0xff)

/** Compresses messages (§7.2.1). */
export const compressor = ({ takeover, windowBits }: Way): Codec => {
  const options = { windowBits, level: 1 }
  const deflate = takeover
    ? keeping(Zlib.createDeflateRaw(options))
    : (message: Buffer) => deflateRaw(message, { ...options, finishFlush })
  return async (message) => {
    const compressed = await deflate(message)
    return compressed.subarray(0, compressed.length - tail.length)
  }
}

/** Decompresses messages (§7.2.2), with a window no larger than agreed on, and nothing in it where nothing may be. */
export const decompressor = ({ takeover, windowBits }: Way): Codec => {
  const inflate = takeover
    ? keeping(Zlib.createInflateRaw({ windowBits }))
    : (message: Buffer) => inflateRaw(message, { windowBits, finishFlush })
  return (compressed) => inflate(Buffer.concat([compressed, tail]))
}
