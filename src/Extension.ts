/**
 * Defines, negotiates and formats extensions of the protocol (RFC 6455 §9).
 *
 * `PerMessageDeflate` is an extension. To write another one, implement `Extension`:
 * pure functions over parameters negotiate it, and a `Session` for each connection
 * encodes and decodes frames.
 *
 * **Example** (An extension without parameters that inverts each byte)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Extension, Frame } from "effect-ws"
 *
 * const invert = (frame: Frame.Frame) =>
 *   new Frame.Frame(frame.opcode, frame.payload.map((byte) => byte ^ 0xff), frame.fin, frame.reserved ^ Frame.Reserved.Rsv2)
 *
 * const inverted: Extension.Extension = {
 *   name: "x-inverted",
 *   reservedBits: Frame.Reserved.Rsv2,
 *   offers: [[]],
 *   accept: () => ({ parameters: [], open: Effect.succeed({ encode: invert, decode: invert }) }),
 *   confirm: () => Effect.succeed({ encode: invert, decode: invert })
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
 * A parameter of an extension: a name, and perhaps a value.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Parameter {
  readonly name: string
  readonly value: string | undefined
}

/**
 * The parameters of an extension, in the order of the header, with repetitions:
 * an extension may give both a meaning.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type Parameters = ReadonlyArray<Parameter>

/**
 * An element of a Sec-WebSocket-Extensions header: an offer in a request, or an
 * accepted extension in a response.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface HeaderEntry {
  readonly name: string
  readonly parameters: Parameters
}

/**
 * An extension, as the option `extensions` of a server or client takes it.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Extension {
  /** Its registered name, a token. Unregistered names begin with "x-" by custom. */
  readonly name: string
  /**
   * The reserved bits that it uses, as in `Frame.Reserved`. Of several extensions
   * with the same bit, at most one is negotiated.
   *
   * An extension with bits decodes only messages with one of them set on the first
   * frame. An extension without bits decodes all messages.
   */
  readonly reservedBits: number
  /** The parameters of each offer of a client, in order of preference. */
  readonly offers: ReadonlyArray<Parameters>
  /** Returns the parameters with which a server accepts an offer, or undefined to decline it. */
  readonly accept: (offered: Parameters) => Accepted | undefined
  /** Returns how a client opens a session for the parameters that a server accepted, or what is wrong with them. */
  readonly confirm: (accepted: Parameters) => OpenSession | string
}

/**
 * An accepted offer: the parameters of the response, and how the server opens its
 * session.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Accepted {
  readonly parameters: Parameters
  readonly open: OpenSession
}

/**
 * Opens the session of a connection, in the connection's Scope.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export type OpenSession = Effect.Effect<Session, never, Scope.Scope>

/**
 * Options for sending one message.
 *
 * @stability unstable
 * @category options
 * @since 0.1.0
 */
export interface SendOptions {
  /** Whether the message may be compressed, if compression was negotiated. Default true. */
  readonly compress?: boolean | undefined
}

/**
 * Encodes and decodes the data frames of one connection.
 *
 * It turns each data frame into one frame, in the order in which frames are sent,
 * and in the order in which they were received. Of several extensions, the first
 * that was negotiated encodes first and decodes last (RFC 6455 §9.1).
 *
 * A function that is done at once returns a frame; one that must wait returns an
 * Effect. An interruption of the fiber that sends or receives does not interrupt
 * the Effect, and no other frame is encoded (or decoded) before it ends.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface Session {
  /**
   * Whether `decode` accepts a part of a frame. Default false. Set it only if the
   * result does not depend on where a message is divided into frames: a large frame
   * is then decoded while it arrives, as if its message had more fragments.
   */
  readonly acceptsPieces?: boolean | undefined
  /** Encodes an outbound data frame: a message, or a fragment of one. */
  readonly encode: (frame: Frame, options: SendOptions) => Frame | Effect.Effect<Frame>
  /**
   * Encodes messages that go to many connections, if `encode` can be replaced by it.
   * Sessions with the same value share what it encodes. Default: a broadcast calls
   * `encode` of each connection.
   */
  readonly shared?: SharedEncoder | undefined
  /**
   * Called when a message was sent that `shared` has changed. What `encode` encodes
   * next must not rely on messages before it.
   */
  readonly onShared?: (() => void) | undefined
  /**
   * Decodes an inbound data frame. If the payload would exceed the budget of its
   * message, `decode` must fail with `MessageTooLarge` before it takes the memory.
   */
  readonly decode: (frame: Frame, budget: SizeBudget) => Frame | DecodeError | Effect.Effect<Frame, DecodeError>
}

/**
 * Encodes unfragmented messages for many connections at once.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface SharedEncoder {
  /**
   * Encodes a message so that any peer can decode it, whatever that peer has
   * received before. Returns the same frame to send it as it is, or undefined to
   * leave it to each connection.
   */
  readonly encode: (frame: Frame, options: SendOptions) => Frame | undefined
}

/**
 * The decoded size of the current message before this frame, and its limit, in bytes.
 *
 * @stability unstable
 * @category models
 * @since 0.1.0
 */
export interface SizeBudget {
  readonly used: number
  readonly limit: number
}

/**
 * The errors with which `Session.decode` may fail.
 *
 * @stability unstable
 * @category errors
 * @since 0.1.0
 */
export type DecodeError = InvalidExtensionData | MessageTooLarge

/**
 * An extension that both ends agreed on in the handshake.
 *
 * @stability unstable
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
 * Returns the offers of a client: those of all its extensions, in order.
 *
 * @stability unstable
 * @category negotiation
 * @since 0.1.0
 */
export const offer = (extensions: ReadonlyArray<Extension>): ReadonlyArray<HeaderEntry> =>
  extensions.flatMap(({ name, offers }) => offers.map((parameters) => ({ name, parameters })))

/**
 * Returns the extensions that a server accepts, in the client's order.
 *
 * The server accepts the first offer of each extension that `Extension.accept` does
 * not decline, unless an earlier one uses the same reserved bits.
 *
 * @stability unstable
 * @category negotiation
 * @since 0.1.0
 */
export const accept = (
  extensions: ReadonlyArray<Extension>,
  offered: ReadonlyArray<HeaderEntry>
): ReadonlyArray<Negotiated> => {
  const negotiated: Array<Negotiated> = []
  for (const { name, parameters } of offered) {
    const extension = extensions.find((known) => known.name === name)
    if (extension === undefined || !isFree(extension, negotiated)) continue
    const accepted = extension.accept(parameters)
    if (accepted === undefined) continue
    negotiated.push({
      entry: { name, parameters: accepted.parameters },
      reservedBits: extension.reservedBits,
      open: accepted.open
    })
  }
  return negotiated
}

/**
 * Checks, on a client, the extensions that a server accepted.
 *
 * Fails with `ExtensionMismatch` if the client did not offer an extension, if an
 * extension rejects its parameters, or if two share a name or a reserved bit.
 *
 * @stability unstable
 * @category negotiation
 * @since 0.1.0
 */
export const confirm = (
  extensions: ReadonlyArray<Extension>,
  accepted: ReadonlyArray<HeaderEntry>
): Result.Result<ReadonlyArray<Negotiated>, ExtensionMismatch> => {
  const negotiated: Array<Negotiated> = []
  for (const entry of accepted) {
    const extension = extensions.find((known) => known.name === entry.name)
    if (extension === undefined) return mismatch(entry, "expected an extension that the client offered")
    if (!isFree(extension, negotiated)) {
      return mismatch(entry, "expected at most one extension for each name and reserved bit, got another")
    }
    const open = extension.confirm(entry.parameters)
    if (typeof open === "string") return mismatch(entry, open)
    negotiated.push({ entry, reservedBits: extension.reservedBits, open })
  }
  return Result.succeed(negotiated)
}

const mismatch = ({ name }: HeaderEntry, problem: string): Result.Result<never, ExtensionMismatch> =>
  Result.fail(new ExtensionMismatch({ extension: name, problem }))

/** Whether no negotiated extension has the same name or one of the same reserved bits. */
const isFree = (extension: Extension, negotiated: ReadonlyArray<Negotiated>): boolean =>
  negotiated.every(({ entry, reservedBits }) =>
    entry.name !== extension.name && (reservedBits & extension.reservedBits) === 0
  )

// -----------------------------------------------------------------------------
// Headers
// -----------------------------------------------------------------------------

/**
 * Parses a Sec-WebSocket-Extensions header, in time linear in its length.
 *
 * Returns undefined if the header violates the grammar of RFC 6455 §9.1.
 *
 * **Example** (Two offers)
 *
 * ```ts
 * import { Extension } from "effect-ws"
 *
 * const offers = Extension.parse("permessage-deflate; client_max_window_bits, x-trace; level=\"2\"")
 *
 * offers?.map((offer) => offer.name) // => ["permessage-deflate", "x-trace"]
 * offers?.[1]?.parameters // => [{ name: "level", value: "2" }]
 *
 * Extension.parse("permessage-deflate; =") // => undefined
 * ```
 *
 * @stability unstable
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
    if (!scanner.skip(";")) return { name, parameters }
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
  if (!scanner.skip("=")) return { name, value: undefined }
  scanner.skipSpace()
  const value = scanner.skip("\"") ? scanner.quoted() : scanner.token()
  // "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST conform to the 'token' ABNF."
  return value === undefined || !isToken(value) ? undefined : { name, value }
}

/**
 * Formats a Sec-WebSocket-Extensions header.
 *
 * Names and values must be tokens, as those that `parse` returns are.
 *
 * @stability unstable
 * @category encoding
 * @since 0.1.0
 */
export const format = (extensions: ReadonlyArray<HeaderEntry>): string =>
  extensions.map(({ name, parameters }) => [name, ...parameters.map(formatParameter)].join("; ")).join(", ")

const formatParameter = ({ name, value }: Parameter): string => value === undefined ? name : `${name}=${value}`
