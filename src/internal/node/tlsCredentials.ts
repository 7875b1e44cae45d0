/** Keys and certificates in the form of Node's TLS options, for clients and servers. */
import * as Redacted from "effect/Redacted"
import type * as Tls from "node:tls"

/** Keys and certificates in PEM. */
export interface TlsCredentials {
  readonly ca?: string | ReadonlyArray<string> | undefined
  readonly cert?: string | undefined
  readonly key?: string | Redacted.Redacted<string> | undefined
  readonly passphrase?: string | Redacted.Redacted<string> | undefined
}

/** Leaves out absent options, because Node rejects undefined as a value. */
export const toSecureContextOptions = (
  { ca, cert, key, passphrase }: TlsCredentials
): Pick<Tls.SecureContextOptions, "ca" | "cert" | "key" | "passphrase"> => ({
  ...ca === undefined ? {} : { ca: typeof ca === "string" ? ca : [...ca] },
  ...cert === undefined ? {} : { cert },
  ...key === undefined ? {} : { key: unredact(key) },
  ...passphrase === undefined ? {} : { passphrase: unredact(passphrase) }
})

/** Returns the plain text of a secret. */
export const unredact = (secret: string | Redacted.Redacted<string>): string =>
  Redacted.isRedacted(secret) ? Redacted.value(secret) : secret
