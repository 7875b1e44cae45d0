/**
 * Negotiates permessage-deflate (RFC 7692 §7.1): what a client offers, what a
 * server accepts, and what a client confirms of a server's response.
 */
import type * as Extension from "../../Extension.ts"
import type { Options, WindowBits } from "../../PerMessageDeflate.ts"

/** How the messages of one direction are compressed. */
export interface Direction {
  /** Whether a message may refer to the messages before it (§7.1.1). */
  readonly takeover: boolean
  readonly windowBits: WindowBits
}

/** What one end negotiated for its connection. */
export interface Directions {
  readonly sending: Direction
  readonly receiving: Direction
}

/** What a server accepts: its response, and what that means for its own end. */
export interface Acceptance extends Directions {
  readonly response: Extension.Parameters
}

/** The parameters of an offer or a response. */
interface Parameters {
  serverNoContextTakeover: boolean
  clientNoContextTakeover: boolean
  serverMaxWindowBits: WindowBits | undefined
  /** "any" is the parameter without a value, which only an offer may contain (§7.1.2.2). */
  clientMaxWindowBits: WindowBits | "any" | undefined
}

const names = {
  serverNoContextTakeover: "server_no_context_takeover",
  clientNoContextTakeover: "client_no_context_takeover",
  serverMaxWindowBits: "server_max_window_bits",
  clientMaxWindowBits: "client_max_window_bits"
} as const

const maxBits: WindowBits = 15

const smaller = (a: WindowBits, b: WindowBits): WindowBits => a < b ? a : b

// -----------------------------------------------------------------------------
// Offer, accept, confirm
// -----------------------------------------------------------------------------

/** Returns what a client offers. */
export const offer = (options: Options): Extension.Parameters =>
  formatParameters({
    serverNoContextTakeover: options.serverNoContextTakeover === true,
    clientNoContextTakeover: options.clientNoContextTakeover === true,
    serverMaxWindowBits: options.serverMaxWindowBits,
    clientMaxWindowBits: options.clientMaxWindowBits ?? "any"
  })

/** Returns what a server accepts of an offer, or undefined if it declines. */
export const accept = (options: Options, parameters: Extension.Parameters): Acceptance | undefined => {
  const offered = parseParameters(parameters)
  if (typeof offered === "string") return undefined
  const clientLimit = options.clientMaxWindowBits ?? maxBits
  // "A server [...] MUST NOT include [client_max_window_bits] in its response [where the offer] doesn't" (§7.1.2.2)
  if (offered.clientMaxWindowBits === undefined && clientLimit < maxBits) return undefined
  const hint = typeof offered.clientMaxWindowBits === "number" ? offered.clientMaxWindowBits : maxBits
  const serverBits = smaller(options.serverMaxWindowBits ?? maxBits, offered.serverMaxWindowBits ?? maxBits)
  const clientBits = smaller(clientLimit, hint)
  const serverNoContextTakeover = offered.serverNoContextTakeover || options.serverNoContextTakeover === true
  const clientNoContextTakeover = offered.clientNoContextTakeover || options.clientNoContextTakeover === true
  return {
    response: formatParameters({
      serverNoContextTakeover,
      clientNoContextTakeover,
      serverMaxWindowBits: offered.serverMaxWindowBits === undefined && serverBits === maxBits ? undefined : serverBits,
      clientMaxWindowBits: clientBits === maxBits ? undefined : clientBits
    }),
    sending: { takeover: !serverNoContextTakeover, windowBits: serverBits },
    receiving: { takeover: !clientNoContextTakeover, windowBits: clientBits }
  }
}

/** Returns what a client negotiated with a server's response, or what is wrong with the response. */
export const confirm = (options: Options, parameters: Extension.Parameters): Directions | string => {
  const response = parseParameters(parameters)
  if (typeof response === "string") return response
  const { clientMaxWindowBits, clientNoContextTakeover, serverMaxWindowBits = maxBits, serverNoContextTakeover } =
    response
  if (clientMaxWindowBits === "any") return expectedBits(names.clientMaxWindowBits, undefined)
  if (options.serverNoContextTakeover === true && !serverNoContextTakeover) {
    return `${names.serverNoContextTakeover}: expected in the response because the client offered it, got a response without it`
  }
  const serverLimit = options.serverMaxWindowBits ?? maxBits
  if (serverMaxWindowBits > serverLimit) {
    return `${names.serverMaxWindowBits}: expected at most ${serverLimit}, got ${serverMaxWindowBits}`
  }
  return {
    sending: {
      takeover: !clientNoContextTakeover && options.clientNoContextTakeover !== true,
      // The client's offer is a hint: the server may allow a larger window than the client uses (§7.1.2.2).
      windowBits: smaller(options.clientMaxWindowBits ?? maxBits, clientMaxWindowBits ?? maxBits)
    },
    receiving: { takeover: !serverNoContextTakeover, windowBits: serverMaxWindowBits }
  }
}

// -----------------------------------------------------------------------------
// Parameters
// -----------------------------------------------------------------------------

/** Returns the parameters, or what is wrong with them. */
const parseParameters = (parameters: Extension.Parameters): Parameters | string => {
  const parsed: Parameters = {
    serverNoContextTakeover: false,
    clientNoContextTakeover: false,
    serverMaxWindowBits: undefined,
    clientMaxWindowBits: undefined
  }
  const seen = new Set<string>()
  for (const { name, value } of parameters) {
    if (seen.has(name)) return `${name}: expected at most one, got several`
    seen.add(name)
    const problem = parseParameter(parsed, name, value)
    if (problem !== undefined) return problem
  }
  return parsed
}

/** Adds a parameter to `parsed`, or returns what is wrong with it. */
const parseParameter = (parsed: Parameters, name: string, value: string | undefined): string | undefined => {
  switch (name) {
    case names.serverNoContextTakeover:
      parsed.serverNoContextTakeover = true
      return value === undefined ? undefined : expectedNoValue(name, value)
    case names.clientNoContextTakeover:
      parsed.clientNoContextTakeover = true
      return value === undefined ? undefined : expectedNoValue(name, value)
    case names.serverMaxWindowBits:
      parsed.serverMaxWindowBits = windowBits.get(value)
      return parsed.serverMaxWindowBits === undefined ? expectedBits(name, value) : undefined
    case names.clientMaxWindowBits:
      parsed.clientMaxWindowBits = value === undefined ? "any" : windowBits.get(value)
      return parsed.clientMaxWindowBits === undefined ? expectedBits(name, value) : undefined
    default:
      return `expected a parameter that RFC 7692 defines, got ${name}`
  }
}

/** "A decimal integer value without leading zeroes between 8 to 15, inclusive" (§7.1.2) */
const windowBits = new Map<string | undefined, WindowBits>(
  ([8, 9, 10, 11, 12, 13, 14, 15] as const).map((bits) => [String(bits), bits])
)

const expectedBits = (name: string, value = "no value"): string =>
  `${name}: expected an integer from 8 to 15, got ${value}`

const expectedNoValue = (name: string, value: string): string => `${name}: expected no value, got ${value}`

const formatParameters = (parameters: Parameters): Extension.Parameters => [
  ...formatFlag(names.serverNoContextTakeover, parameters.serverNoContextTakeover),
  ...formatFlag(names.clientNoContextTakeover, parameters.clientNoContextTakeover),
  ...formatBits(names.serverMaxWindowBits, parameters.serverMaxWindowBits),
  ...formatBits(names.clientMaxWindowBits, parameters.clientMaxWindowBits)
]

const formatFlag = (name: string, isSet: boolean): Extension.Parameters => isSet ? [{ name, value: undefined }] : []

const formatBits = (name: string, bits: WindowBits | "any" | undefined): Extension.Parameters =>
  bits === undefined ? [] : [{ name, value: bits === "any" ? undefined : String(bits) }]
