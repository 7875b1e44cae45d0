/**
 * Extensions of the protocol (RFC 6455 §9): the contract that one is written
 * to, how both ends agree on them, and how they are written in a header.
 *
 * `PerMessageDeflate` is one. An extension of your own is a value too: what it
 * offers and accepts are pure functions over parameters, and what it does with
 * frames is a `Session`, one for each connection.
 *
 * **Example** (Bytes turned upside down, agreed on by name)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Extension, Frame } from "effect-ws"
 *
 * const flip = (frame: Frame.Frame) =>
 *   new Frame.Frame(frame.opcode, frame.payload.map((byte) => byte ^ 0xff), frame.fin, frame.reserved ^ Frame.Reserved.Rsv2)
 *
 * const upsideDown: Extension.Extension = {
 *   name: "x-upside-down",
 *   reservedBits: Frame.Reserved.Rsv2,
 *   offers: [[]],
 *   accept: () => ({ parameters: [], open: Effect.succeed({ encode: flip, decode: flip }) }),
 *   confirm: () => Effect.succeed({ encode: flip, decode: flip })
 * }
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Frame } from "./Frame.ts"
import { ExtensionMismatch } from "./HandshakeError.ts"
import { isToken, parseList, type Scanner } from "./internal/protocol/headerSyntax.ts"
import type { InvalidExtensionData, MessageTooLarge } from "./ProtocolError.ts"

// -----------------------------------------------------------------------------
// Models
// -----------------------------------------------------------------------------

/**
 * A parameter of an extension: a name, and a value where it has one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Parameter {
  readonly name: string
  readonly value: string | undefined
}

/**
 * The parameters of an extension. Order and repetitions are kept; they have a
 * meaning.
 *
 * @category models
 * @since 0.1.0
 */
export type Parameters = ReadonlyArray<Parameter>

/**
 * An extension as it is named in a header: one offer in a request, or one that
 * was accepted in a response.
 *
 * @category models
 * @since 0.1.0
 */
export interface HeaderEntry {
  readonly name: string
  readonly parameters: Parameters
}

/**
 * An extension that a server or a client is given.
 *
 * @category models
 * @since 0.1.0
 */
export interface Extension {
  /** The name that it is registered under, a token. */
  readonly name: string
  /**
   * The reserved bits that it uses, as in `Frame.Reserved`. Of several
   * extensions that use the same bit, at most one is agreed on.
   *
   * An extension with bits is asked to decode the messages whose first frame
   * has one of them set, and no others. One without is asked to decode all.
   */
  readonly reservedBits: number
  /** What a client offers, in order of preference. */
  readonly offers: ReadonlyArray<Parameters>
  /** A server's answer to an offer: the parameters it accepts it with, or undefined to decline it. */
  readonly accept: (offered: Parameters) => Accepted | undefined
  /** A client's view of a server's answer to its offers: a session, or what is wrong with the answer. */
  readonly confirm: (accepted: Parameters) => OpenSession | string
}

/**
 * An offer that is accepted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Accepted {
  readonly parameters: Parameters
  readonly open: OpenSession
}

/**
 * Begins an extension's work in a connection, whose Scope it is run in.
 *
 * @category models
 * @since 0.1.0
 */
export type OpenSession = Effect.Effect<Session, never, Scope.Scope>

/**
 * How a message is to be sent.
 *
 * @category options
 * @since 0.1.0
 */
export interface SendOptions {
  /** Whether the message may be compressed, where that was agreed on. Default true. */
  readonly compress?: boolean | undefined
}

/**
 * An extension at work in one connection. It turns each data frame into one
 * frame, in the order in which they are sent, and back in the order in which
 * they were received. Of several, the first that was agreed on encodes first
 * and decodes last (RFC 6455 §9.1).
 *
 * A plain function answers at once. One that has to wait answers an Effect; it
 * is run to its end even when whoever sends or receives is interrupted, and
 * nothing else is encoded (or decoded) before it has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface Session {
  /**
   * Whether `decode` accepts part of a frame. Set this only if the result does not depend on where a message is divided
   * into frames: then a large frame is decoded while it arrives, as if its message had more fragments. Default false.
   */
  readonly acceptsPieces?: boolean | undefined
  /** Encodes a data frame that is to be sent: a message, or a fragment of one. */
  readonly encode: (frame: Frame, options: SendOptions) => Frame | Effect.Effect<Frame>
  /**
   * Decodes a data frame. What comes of it must fit into the room that its
   * message has left: stop with `MessageTooLarge` where it does not, before it
   * takes the memory.
   */
  readonly decode: (frame: Frame, room: SizeBudget) => Frame | DecodeError | Effect.Effect<Frame, DecodeError>
}

/**
 * How large the message at hand is, and how large it may become, in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface SizeBudget {
  readonly used: number
  readonly limit: number
}

/**
 * Why a frame could not be decoded.
 *
 * @category errors
 * @since 0.1.0
 */
export type DecodeError = InvalidExtensionData | MessageTooLarge

/**
 * An extension that both ends agreed on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Negotiated {
  readonly entry: HeaderEntry
  readonly reservedBits: number
  readonly open: OpenSession
}

// -----------------------------------------------------------------------------
// Negotiation
// -----------------------------------------------------------------------------

/**
 * What a client offers: all offers of all its extensions, in order.
 *
 * @category negotiation
 * @since 0.1.0
 */
export const offer = (extensions: ReadonlyArray<Extension>): ReadonlyArray<HeaderEntry> =>
  extensions.flatMap(({ name, offers }) => offers.map((parameters) => ({ name, parameters })))

/**
 * A server's choice among what a client offers, in the client's order: of each
 * extension the first offer that it accepts, where its reserved bits are free.
 *
 * @category negotiation
 * @since 0.1.0
 */
export const accept = (
  extensions: ReadonlyArray<Extension>,
  offered: ReadonlyArray<HeaderEntry>
): ReadonlyArray<Negotiated> => {
  const agreed: Array<Negotiated> = []
  for (const { name, parameters } of offered) {
    const extension = extensions.find((known) => known.name === name)
    if (extension === undefined || !isFree(extension, agreed)) continue
    const accepted = extension.accept(parameters)
    if (accepted === undefined) continue
    agreed.push({
      entry: { name, parameters: accepted.parameters },
      reservedBits: extension.reservedBits,
      open: accepted.open
    })
  }
  return agreed
}

/**
 * A client's check of what a server accepted.
 *
 * @category negotiation
 * @since 0.1.0
 */
export const confirm = (
  extensions: ReadonlyArray<Extension>,
  accepted: ReadonlyArray<HeaderEntry>
): Result.Result<ReadonlyArray<Negotiated>, ExtensionMismatch> => {
  const agreed: Array<Negotiated> = []
  for (const entry of accepted) {
    const extension = extensions.find((known) => known.name === entry.name)
    const open = extension === undefined
      ? "expected an extension that the client offered"
      : isFree(extension, agreed)
      ? extension.confirm(entry.parameters)
      : "expected at most one extension for each name and reserved bit, got another"
    if (typeof open === "string") return Result.fail(new ExtensionMismatch({ extension: entry.name, problem: open }))
    agreed.push({ entry, reservedBits: extension!.reservedBits, open })
  }
  return Result.succeed(agreed)
}

const isFree = (extension: Extension, agreed: ReadonlyArray<Negotiated>): boolean =>
  agreed.every(({ entry, reservedBits }) =>
    entry.name !== extension.name && (reservedBits & extension.reservedBits) === 0
  )

// -----------------------------------------------------------------------------
// Headers
// -----------------------------------------------------------------------------

/**
 * Reads a Sec-WebSocket-Extensions header, in time linear in its length.
 * Answers undefined where it breaks the grammar of RFC 6455 §9.1.
 *
 * **Example** (Two offers)
 *
 * ```ts
 * import { Extension } from "effect-ws"
 *
 * const offers = Extension.parse("permessage-deflate; client_max_window_bits, x-trace; level=\"2\"")
 *
 * offers?.map((offer) => offer.name) // => ["permessage-deflate", "x-trace"]
 * offers?.[1].parameters // => [{ name: "level", value: "2" }]
 *
 * Extension.parse("permessage-deflate; =") // => undefined
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const parse = (header: string): ReadonlyArray<HeaderEntry> | undefined => parseList(header, parseExtension)

const parseExtension = (scanner: Scanner): HeaderEntry | undefined => {
  const name = scanner.token()
  if (name === "") return undefined
  const parameters: Array<Parameter> = []
  for (;;) {
    scanner.skipSpace()
    if (!scanner.take(";")) return { name, parameters }
    scanner.skipSpace()
    const parameter = parseParameter(scanner)
    if (parameter === undefined) return undefined
    parameters.push(parameter)
  }
}

const parseParameter = (scanner: Scanner): Parameter | undefined => {
  const name = scanner.token()
  if (name === "") return undefined
  scanner.skipSpace()
  if (!scanner.take("=")) return { name, value: undefined }
  scanner.skipSpace()
  const value = scanner.take("\"") ? scanner.quoted() : scanner.token()
  // "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST conform to the 'token' ABNF."
  return value === undefined || !isToken(value) ? undefined : { name, value }
}

/**
 * Writes a Sec-WebSocket-Extensions header. Names and values must be tokens, as
 * those that `parse` gives are.
 *
 * @category encoding
 * @since 0.1.0
 */
export const format = (extensions: ReadonlyArray<HeaderEntry>): string =>
  extensions.map(({ name, parameters }) => [name, ...parameters.map(formatParameter)].join("; ")).join(", ")

const formatParameter = ({ name, value }: Parameter): string => value === undefined ? name : `${name}=${value}`
