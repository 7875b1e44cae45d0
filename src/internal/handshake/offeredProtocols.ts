/** Checks the subprotocols that a client offers (RFC 6455 §4.1). */
import { InvalidProtocol } from "../../HandshakeError.ts"
import { isToken } from "../protocol/headerSyntax.ts"

export const offerProblem = (protocols: ReadonlyArray<string>): InvalidProtocol | undefined => {
  for (const [i, protocol] of protocols.entries()) {
    const invalid = (problem: string) => new InvalidProtocol({ protocol, problem })
    if (!isToken(protocol)) return invalid("expected a token of letters, digits and !#$%&'*+-.^_`|~")
    if (protocols.indexOf(protocol) < i) return invalid("expected each subprotocol once, got it twice")
  }
  return undefined
}
