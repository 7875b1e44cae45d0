/** Keys and certificates for localhost, which test/support/certificates/make.sh made. */
import { readFileSync } from "node:fs"

/** Returns a key or a certificate in PEM. */
export const certificate = (name: string): string =>
  readFileSync(new URL(`certificates/${name}`, import.meta.url), "utf8")

export const key = certificate("localhost.key")

/** The authority that has signed the certificate of `tls`. */
export const ca = certificate("authority.crt")

export const tls = { key, cert: certificate("signed.crt") }

/** TLS with a certificate that is its own authority. */
export const localhostTls = { key, cert: certificate("localhost.crt") }
