/** The keys and certificates that test/support/certificates/make.sh made. */
import { readFileSync } from "node:fs"

/** Returns a key or a certificate in PEM. */
export const certificate = (name: string): string =>
  readFileSync(new URL(`certificates/${name}`, import.meta.url), "utf8")
