/** Checks the options of `Testing`. */
import type { Faults } from "../Testing.ts"
import { atLeast, type Checked, nonNegativeDuration } from "./runtime/optionChecks.ts"

export const checkFaults = ({ breakAfter, chunkSize, latency }: Faults): Checked =>
  nonNegativeDuration("latency", latency) ?? atLeast(1, "chunkSize", chunkSize) ?? atLeast(0, "breakAfter", breakAfter)
