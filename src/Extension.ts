/**
 * Extensions as they are written in the Sec-WebSocket-Extensions header (RFC
 * 6455 §9.1).
 *
 * @since 0.1.0
 */
import { isToken, parseList, type Scanner } from "./internal/headers.ts"

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
 * An extension with its parameters: one offer in a request, or one that was
 * accepted in a response. Order and repetitions are kept; they have a meaning.
 *
 * @category models
 * @since 0.1.0
 */
export interface Extension {
  readonly name: string
  readonly parameters: ReadonlyArray<Parameter>
}

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
export const parse = (header: string): ReadonlyArray<Extension> | undefined => parseList(header, parseExtension)

const parseExtension = (scanner: Scanner): Extension | undefined => {
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
export const format = (extensions: ReadonlyArray<Extension>): string =>
  extensions.map(({ name, parameters }) => [name, ...parameters.map(formatParameter)].join("; ")).join(", ")

const formatParameter = ({ name, value }: Parameter): string => value === undefined ? name : `${name}=${value}`
