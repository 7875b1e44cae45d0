/** All sections, in the order of the table. */
import type { Section } from "../case.ts"
import { autobahn } from "./autobahn.ts"
import { beyond } from "./beyond.ts"
import { compression } from "./compression.ts"
import { handshakes } from "./handshakes.ts"
import { limits } from "./limits.ts"
import { utf8 } from "./utf8.ts"

const { closing, fragmentation, framing, miscellany, opcodes, pings, reservedBits } = autobahn

/** The sections of the Autobahn TestSuite, by its numbers. */
export const autobahnSections: ReadonlyArray<Section> = [
  framing,
  pings,
  reservedBits,
  opcodes,
  fragmentation,
  utf8,
  closing,
  limits,
  miscellany,
  ...compression
]

export const sections: ReadonlyArray<Section> = [...autobahnSections, ...beyond, ...handshakes]
