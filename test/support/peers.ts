/** The peers that npm does not give: what they are, whether they are on this machine, and in which version. */
import { describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { inject } from "vitest"
import { chromiumPath } from "./chromium.ts"

export const bun = process.env["BUN"] ?? "bun"
export const deno = process.env["DENO"] ?? "deno"
/** Debian's own, for which Debian's packages are. */
export const python = "/usr/bin/python3"

interface Question {
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** Matches the answer, and the version in it. */
  readonly answer: RegExp
}

const pythonModule = (name: string): Question => ({
  command: python,
  args: ["-c", `from importlib.metadata import version; print(version("${name}"))`],
  answer: /^(\S+)/
})

/** How each is asked for its version. */
const questions = {
  Chromium: { command: chromiumPath, args: ["--version"], answer: /Chromium (\S+)/ },
  Bun: { command: bun, args: ["--version"], answer: /^(\S+)/ },
  Deno: { command: deno, args: ["--version"], answer: /^deno (\S+)/ },
  "Python websockets": pythonModule("websockets"),
  aiohttp: pythonModule("aiohttp"),
  Tornado: pythonModule("tornado"),
  "h2 and wsproto": pythonModule("wsproto"),
  // Its programs do not tell their version without being started in earnest.
  libwebsockets: {
    command: "dpkg-query",
    args: ["--show", "--showformat=${db:Status-Abbrev}${Version}", "libwebsockets-test-server"],
    answer: /^ii +([^\s-]+)/
  },
  nginx: { command: "nginx", args: ["-v"], answer: /nginx\/(\S+)/ },
  HAProxy: { command: "haproxy", args: ["-v"], answer: /version ([^\s-]+)/ },
  Caddy: { command: "caddy", args: ["version"], answer: /^v?(\S+)/ }
} satisfies Record<string, Question>

export type PeerName = keyof typeof questions

/** The version of each peer; undefined where it is not there. */
export type Versions = Readonly<Record<PeerName, string | undefined>>

declare module "vitest" {
  interface ProvidedContext {
    peers: Versions
  }
}

const versionOf = ({ answer, args, command }: Question): string | undefined => {
  const { stderr, stdout } = spawnSync(command, args, { encoding: "utf8" })
  return answer.exec(`${stdout ?? ""}${stderr ?? ""}`)?.[1]
}

export const findPeers = (): Versions =>
  Object.fromEntries(
    Object.entries(questions).map(([name, question]) => [name, versionOf(question)])
  ) as Versions

/** Declares the tests of a peer; one test that says so, when it is not there. */
export const withPeer = (name: PeerName, tests: (title: string) => void): void => {
  const version = inject("peers")[name]
  if (version !== undefined) tests(`${name} ${version}`)
  else describe(name, () => it.skip("not installed, not run"))
}
