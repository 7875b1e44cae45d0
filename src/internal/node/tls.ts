/** Converts a client's TLS options to Node's. */
import * as Result from "effect/Result"
import type * as Tls from "node:tls"
import { InvalidOption } from "../../HandshakeError.ts"
import type { TlsOptions } from "../../WebSocketClient.ts"
import * as builtins from "../runtime/builtins.ts"
import { toSecureContextOptions } from "./tlsCredentials.ts"
import { hostOf } from "../protocol/url.ts"
import { reasonOf } from "../runtime/describe.ts"

/** The name that the certificate must have. DNS names may end with a dot, those in TLS do not (RFC 6066 §3). */
const nameOf = (host: string): string => host.replace(/\.+$/, "")

/** Parses keys and certificates here, so that an invalid one is an `InvalidOption` and not an error of the connection. */
export const secureOptions = (
  option: "tls" | "proxy.tls",
  url: URL,
  tls: TlsOptions = {},
  protocols: ReadonlyArray<"h2" | "http/1.1"> = ["http/1.1"]
): Result.Result<Tls.ConnectionOptions, InvalidOption> => {
  const name = nameOf(tls.servername || hostOf(url))
  const read = Result.try(() => builtins.tls().createSecureContext(toSecureContextOptions(tls)))
  return Result.mapBoth(read, {
    onFailure: (error) => new InvalidOption({ option, problem: reasonOf(error) }),
    onSuccess: (secureContext) => ({
      secureContext,
      // RFC 6066 §3: an address is not sent as a name. The certificate is checked for it nevertheless.
      servername: tls.servername === "" || builtins.net().isIP(name) !== 0 ? "" : name,
      checkServerIdentity: (_, certificate) => builtins.tls().checkServerIdentity(name, certificate),
      rejectUnauthorized: tls.rejectUnauthorized ?? true,
      ALPNProtocols: [...protocols]
    })
  })
}
