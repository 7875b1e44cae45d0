/** Everything that is fuzzed. */
import { differential } from "./differential.ts"
import type { Target } from "./engine.ts"

export const targets: ReadonlyArray<Target> = [differential]
