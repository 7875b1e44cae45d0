/** A client's options for TLS, as Node wants them. */
import * as Result from "effect/Result"
import { isIP } from "node:net"
import * as Tls from "node:tls"
import { InvalidOption } from "../../HandshakeError.ts"
import type { TlsOptions } from "../../WebSocketClient.ts"
import { unredact } from "./http1Upgrade.ts"
import { hostOf } from "../protocol/url.ts"

/** The name that a certificate must bear. In TLS, a name has no dot behind it (RFC 6066 §3), whereas DNS takes one for the root. */
const nameOf = (host: string): string => host.replace(/\.+$/, "")

/** TLS as Node wants it. The key and certificates are read here, so that what is wrong with them has a name. */
export const secureOptions = (
  option: "tls" | "proxy.tls",
  url: URL,
  tls: TlsOptions = {}
): Result.Result<Tls.ConnectionOptions, InvalidOption> => {
  const name = nameOf(tls.servername || hostOf(url))
  const read = Result.try(() =>
    Tls.createSecureContext({
      ...tls.ca === undefined ? {} : { ca: typeof tls.ca === "string" ? tls.ca : [...tls.ca] },
      ...tls.cert === undefined ? {} : { cert: tls.cert },
      ...tls.key === undefined ? {} : { key: unredact(tls.key) },
      ...tls.passphrase === undefined ? {} : { passphrase: unredact(tls.passphrase) }
    })
  )
  return Result.mapBoth(read, {
    onFailure: (error) => new InvalidOption({ option, problem: (error as Error).message }),
    onSuccess: (secureContext) => ({
      secureContext,
      // RFC 6066 §3: an address is no name. The certificate is checked for it all the same.
      servername: tls.servername === "" || isIP(name) !== 0 ? "" : name,
      checkServerIdentity: (_, certificate) => Tls.checkServerIdentity(name, certificate),
      rejectUnauthorized: tls.rejectUnauthorized ?? true,
      // RFC 8441 needs another handshake than this one.
      ALPNProtocols: ["http/1.1"]
    })
  })
}
