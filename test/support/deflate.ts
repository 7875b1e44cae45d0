/** permessage-deflate without a connection: sessions of both ends, frames and data for them. */
import { assert } from "@effect/vitest"
import { Arbitrary, Effect, type Scope } from "effect"
import { Extension, Frame, PerMessageDeflate } from "effect-ws"
import { randomBytes } from "node:crypto"
import * as Zlib from "node:zlib"
import { among, anyBoolean, anyCuts, anyPayload, cutAt, either, integer } from "./properties.ts"

// -----------------------------------------------------------------------------
// Frames and data
// -----------------------------------------------------------------------------

export const rsv1 = Frame.Reserved.Rsv1

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

/** Bytes in hexadecimal, with spaces in between. */
export const fromHex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"))

/** The first frame of a compressed message. */
export const compressed = (
  payload: Uint8Array,
  fin = true,
  opcode: Frame.Opcode = Frame.Opcode.Text
): Frame.Frame => new Frame.Frame(opcode, payload, fin, rsv1)

export const continued = (payload: Uint8Array, fin: boolean): Frame.Frame =>
  new Frame.Frame(Frame.Opcode.Continuation, payload, fin)

/** "Hello" in one block (RFC 7692 §7.2.3.1). */
export const hello = compressed(fromHex("f2 48 cd c9 c9 07 00"))
/** "Hello" as a reference to the "Hello" before it (§7.2.3.2). */
export const helloAgain = compressed(fromHex("f2 00 11 00 00"))

export const textOf = ({ payload }: Frame.Frame): string => Buffer.from(payload).toString()

/** Market data in JSON: about 80 bytes an entry, which resemble each other. */
export const tick = (i: number, size = 1): Uint8Array =>
  Uint8Array.from(Buffer.from(JSON.stringify(Array.from({ length: size }, (_, n) => ({
    type: "tick",
    symbol: ["ACME", "INIT", "OMEGA"][(i + n) % 3],
    price: (i * 7919 + n * 104729) % 10007 / 100,
    at: 1700000000000 + i * 977 + n
  })))))

/** A block that inflates to a MiB of zeros, as often as given. It ends with a flush, and refers to nothing before it. */
export const zeros = (() => {
  const data = Zlib.deflateRawSync(new Uint8Array(2 ** 20), { level: 9, finishFlush: Zlib.constants.Z_FULL_FLUSH })
  return (times: number): Uint8Array => Uint8Array.from(Buffer.alloc(data.length * times, data))
})()

/** Fails if the arrays differ. Prints no hexadecimal of large arrays that are equal. */
export const assertSameBytes = (actual: Uint8Array, expected: Uint8Array): void => {
  if (Buffer.compare(actual, expected) !== 0) assert.strictEqual(hex(actual), hex(expected))
}

// -----------------------------------------------------------------------------
// Negotiation
// -----------------------------------------------------------------------------

/** The parameters of one extension in a header. */
export const parameters = (header: string): Extension.Parameters =>
  Extension.parse(`x${header === "" ? "" : ";"}${header}`)![0].parameters

/** Parameters as a header contains them. */
export const formatted = (list: Extension.Parameters): string =>
  Extension.format([{ name: "x", parameters: list }]).slice(3)

/** The session that a server opens for an offer. */
export const openServer = (
  extension: Extension.Extension,
  offer = ""
): Effect.Effect<Extension.Session, never, Scope.Scope> => {
  const accepted = extension.accept(parameters(offer))
  if (accepted === undefined) throw new Error(`declined: ${offer}`)
  return accepted.open
}

/** The session that a client opens for a response. */
export const openClient = (
  extension: Extension.Extension,
  response = ""
): Effect.Effect<Extension.Session, never, Scope.Scope> => {
  const confirmed = extension.confirm(parameters(response))
  if (typeof confirmed === "string") throw new Error(confirmed)
  return confirmed
}

export interface Ends {
  readonly client: Extension.Session
  readonly server: Extension.Session
}

/** Both ends of a connection, which negotiate. */
export const openEnds = (
  client: Extension.Extension,
  server: Extension.Extension
): Effect.Effect<Ends, never, Scope.Scope> =>
  Effect.suspend(() => {
    const [accepted] = Extension.accept([server], Extension.offer([client]))
    const confirmed = client.confirm(accepted.entry.parameters)
    if (typeof confirmed === "string") throw new Error(confirmed)
    return Effect.all({ client: confirmed, server: accepted.open })
  })

/** Both ends of a connection, with extensions of their own. */
export const openBoth = (
  clientOptions: PerMessageDeflate.Options = {},
  serverOptions: PerMessageDeflate.Options = {}
): Effect.Effect<Ends, never, Scope.Scope> =>
  Effect.suspend(() => openEnds(PerMessageDeflate.make(clientOptions), PerMessageDeflate.make(serverOptions)))

// -----------------------------------------------------------------------------
// Sessions
// -----------------------------------------------------------------------------

export const noLimit: Extension.SizeBudget = { used: 0, limit: Number.POSITIVE_INFINITY }

export const encode = (
  session: Extension.Session,
  frame: Frame.Frame,
  options: Extension.SendOptions = {}
): Effect.Effect<Frame.Frame> => {
  const encoded = session.encode(frame, options)
  return Effect.isEffect(encoded) ? encoded : Effect.succeed(encoded)
}

/** An error is an Effect that fails with it. */
export const decode = (
  session: Extension.Session,
  frame: Frame.Frame,
  budget = noLimit
): Effect.Effect<Frame.Frame, Extension.DecodeError> => {
  const decoded = session.decode(frame, budget)
  return decoded instanceof Frame.Frame ? Effect.succeed(decoded) : decoded
}

/** A message, where it is cut into fragments, and whether it may be compressed. */
export interface Sent {
  readonly payload: Uint8Array
  readonly cuts: ReadonlyArray<number>
  readonly compress: boolean
}

/** The frames of a message before they are encoded. */
export const framesOf = ({ cuts, payload }: Sent): Array<Frame.Frame> => {
  const parts = cutAt(payload, cuts)
  return parts.map((part, i) =>
    new Frame.Frame(i === 0 ? Frame.Opcode.Binary : Frame.Opcode.Continuation, part, i === parts.length - 1)
  )
}

/** Sends a message from one end to the other, checks that it arrives unchanged, and returns the encoded frames. */
export const transfer = (from: Extension.Session, to: Extension.Session, message: Sent) =>
  Effect.gen(function*() {
    let isCompressed = false
    const received: Array<Uint8Array> = []
    const encoded: Array<Frame.Frame> = []
    for (const frame of framesOf(message)) {
      const out = yield* encode(from, frame, { compress: message.compress })
      encoded.push(out)
      assert.deepStrictEqual([out.opcode, out.fin], [frame.opcode, frame.fin])
      if (out.opcode === Frame.Opcode.Continuation) assert.strictEqual(out.reserved, 0)
      else isCompressed = out.reserved === rsv1
      received.push((isCompressed ? yield* decode(to, out) : out).payload)
    }
    if (!message.compress) assert.isFalse(isCompressed)
    assertSameBytes(Buffer.concat(received), message.payload)
    return encoded
  })

// -----------------------------------------------------------------------------
// Arbitraries
// -----------------------------------------------------------------------------

const anyJson = Arbitrary.map(Arbitrary.all([integer(0, 1000), integer(1, 40)]), ([i, size]) => tick(i, size))
const anyNoise = Arbitrary.map(integer(0, 3000), (size) => Uint8Array.from(randomBytes(size)))

export const anySent: Arbitrary.Arbitrary<Sent> = Arbitrary.map(
  Arbitrary.all([
    either(anyPayload, anyJson, anyNoise),
    either(Arbitrary.map(integer(0, 0), () => []), anyCuts),
    among(true, true, true, false)
  ]),
  ([payload, cuts, compress]) => ({ payload, cuts, compress })
)

const anyBits = among<PerMessageDeflate.WindowBits>(8, 9, 10, 11, 12, 13, 14, 15)

export const anyOptions: Arbitrary.Arbitrary<PerMessageDeflate.Options> = Arbitrary.map(
  Arbitrary.all([
    anyBoolean,
    anyBoolean,
    anyBits,
    anyBits,
    among<PerMessageDeflate.Options["level"]>(0, 1, 2, 3, 6, 9),
    among<PerMessageDeflate.Options["memoryLevel"]>(1, 5, 8, 9),
    among<PerMessageDeflate.Options["threshold"]>(0, 100, undefined)
  ]),
  ([serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits, ...rest]) => ({
    serverNoContextTakeover,
    clientNoContextTakeover,
    serverMaxWindowBits,
    clientMaxWindowBits,
    level: rest[0],
    memoryLevel: rest[1],
    threshold: rest[2]
  })
)

/** Options without what a client requires of a server, which may not agree. */
export const withoutRequirements = (options: PerMessageDeflate.Options): PerMessageDeflate.Options => ({
  ...options,
  serverMaxWindowBits: undefined,
  serverNoContextTakeover: undefined
})
