/** Before and after the tests of peers: says which peers there are, and at the end again which were not run. */
import type { TestProject } from "vitest/node"
import { findPeers } from "./peers.ts"

export default (project: TestProject): () => void => {
  const versions = findPeers()
  const missing = Object.entries(versions).filter(([, version]) => version === undefined).map(([name]) => name)
  const notRun = `not installed, not run: ${missing.join(", ")}`
  for (const [name, version] of Object.entries(versions)) console.log(`${name} ${version ?? "is not installed"}`)
  if (missing.length > 0 && process.env["CI_PEERS"] === "all") throw new Error(`CI_PEERS=all, but ${notRun}`)
  project.provide("peers", versions)
  return () => console.log(missing.length === 0 ? "all peers were there" : notRun)
}
