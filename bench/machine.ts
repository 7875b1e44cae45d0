/** Where and when this was measured. */
import { createRequire } from "node:module"
import * as Os from "node:os"

const require = createRequire(import.meta.url)
const versionOf = (name: string): string => (require(`${name}/package.json`) as { readonly version: string }).version

export const machine = (): ReadonlyArray<string> => {
  const packages = ["effect-ws", "effect", "@effect/platform-node", "ws"].map((name) => `${name} ${versionOf(name)}`)
  const cpu = Os.cpus().at(0)?.model.trim() ?? "unknown CPU"
  return [
    new Date().toISOString().slice(0, 10),
    `${cpu}, ${Os.availableParallelism()} cores, ${Os.platform()} ${Os.arch()}`,
    `node ${process.versions.node}, ${packages.join(", ")}`
  ]
}
