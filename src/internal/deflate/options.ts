/** Checks the options of permessage-deflate. */
import type { Options } from "../../PerMessageDeflate.ts"
import { atLeast, type Checked, integerBetween, positiveDuration } from "../runtime/optionChecks.ts"

/** Returns the first invalid option. */
export const checkDeflate = (options: Options): Checked =>
  integerBetween(8, 15, "serverMaxWindowBits", options.serverMaxWindowBits) ??
    integerBetween(8, 15, "clientMaxWindowBits", options.clientMaxWindowBits) ??
    integerBetween(0, 9, "level", options.level) ??
    integerBetween(1, 9, "memoryLevel", options.memoryLevel) ??
    atLeast(0, "threshold", options.threshold) ??
    atLeast(0, "memoryLimit", options.memoryLimit) ??
    positiveDuration("releaseAfter", options.releaseAfter)
