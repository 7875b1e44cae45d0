/** The command line. */
import { parseArgs } from "node:util"
import { bunPath } from "./bun.ts"
import { type Mode, modes, type Peer, peers, scenarios } from "./scenarios.ts"

const list = (record: object): string => Object.keys(record).join(" ")

const usage = `npm run bench -- [SCENARIO ...] [--rounds 3] [--seconds 2] [--peers ws,bun] [--mode ${modes.join("|")}]
                [--idle 2000] [--markdown] [--json FILE] [--svg FILE]
npm run bench -- codec|deflate|deflate-memory [--rounds 3] [--markdown]
npm run bench -- growth [--rounds 3] [--seconds 2] [--mode stream] [--markdown] [--svg FILE]
npm run bench -- clients|topics|redis|rpc [--rounds 3] [--seconds 2] [--markdown]
npm run bench -- http2|startup [--rounds 3] [--markdown]
npm run bench -- profile [--seconds 2] [--mode stream] [--markdown]
npm run bench -- compare FILE FILE [--markdown]

http2      echoes over HTTP/2 beside HTTP/1.1, in one process
clients    connects, closes and idle connections of clients, beside those of ws and undici
growth     how the cost of a message grows with connections, size and rate, beside ws
topics     deliveries of topics beside Socket.IO's rooms, a loop over ws, and Bun's publish if BUN is its path
redis      topics of two processes through Redis, beside Socket.IO's adapters; needs redis-server in PATH
startup    imports, and the time until a server listens, beside ws
rpc        calls of effect/rpc beside Effect's own server and client
profile    where the time of a message goes, in our server
compare    the second of two files of --json, each figure with its ratio to that of the first

scenarios: ${list(scenarios)};
           all of them where none is named, which takes about a quarter of an hour
peers:     ${list(peers)};
           all of them where none is named, each in the scenarios in which it means something; Bun if BUN is its path
--rounds   how often each peer is measured; the table has medians
--seconds  how long each measurement takes, after a second to warm up
--mode     how our server echoes: message by message, or all that have come at once
--idle     how many connections the scenario "idle" opens
--markdown a table for Markdown
--json     writes the tables to a file as well
--svg      draws a chart of the ratios to ws`

const aloneNames = [
  "clients",
  "codec",
  "deflate",
  "deflate-memory",
  "growth",
  "http2",
  "profile",
  "redis",
  "rpc",
  "startup",
  "topics"
] as const

export interface Arguments {
  /** What is measured by itself: the codec and compression without a network, growth and profile with one. */
  readonly alone: typeof aloneNames[number] | undefined
  readonly scenarios: ReadonlyArray<string>
  readonly peers: ReadonlyArray<Peer>
  readonly rounds: number
  readonly seconds: number
  readonly mode: Mode
  readonly idle: number
  readonly markdown: boolean
  readonly svg: string | undefined
  readonly json: string | undefined
  /** Two files of `--json`. Then nothing is measured. */
  readonly compared: readonly [string, string] | undefined
}

const fail = (problem: string): never => {
  throw new Error(problem)
}

const number = (name: string, value: string, least: number, most: number): number => {
  const parsed = Number(value)
  return parsed >= least && parsed <= most ? parsed : fail(`--${name} is a number from ${least} to ${most}`)
}

const oneOf = <A extends string>(what: string, value: string, allowed: ReadonlyArray<A>): A =>
  allowed.find((one) => one === value) ?? fail(`there is no ${what} "${value}", only ${allowed.join(", ")}`)

const peersIn = (names: string | undefined): ReadonlyArray<Peer> => {
  const all = Object.keys(peers) as Array<Peer>
  if (names === undefined) return all.filter((peer) => peer !== "bun" || bunPath !== undefined)
  const named = names.split(",").map((name) => oneOf("peer", name, all))
  if (named.includes("bun") && bunPath === undefined) {
    fail("expected the path of Bun's binary in the environment variable BUN, got none: npm install bun, and set it")
  }
  return named
}

const parse = (): Arguments => {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "2" },
      peers: { type: "string" },
      mode: { type: "string", default: "stream" },
      idle: { type: "string", default: "2000" },
      markdown: { type: "boolean", default: false },
      svg: { type: "string" },
      json: { type: "string" },
      help: { type: "boolean", default: false }
    }
  })
  if (values.help) {
    console.log(usage)
    process.exit()
  }
  const names = Object.keys(scenarios)
  const isComparison = positionals[0] === "compare"
  if (isComparison && positionals.length !== 3) fail("compare takes two files of --json")
  const alone = aloneNames.find((one) => positionals.includes(one))
  if (alone !== undefined && positionals.length > 1) fail(`${alone} is measured alone`)
  const others = peersIn(values.peers)
  if (values.svg !== undefined && !others.includes("ws")) fail("the chart shows ratios to ws: add ws to the peers")
  return {
    alone,
    scenarios: alone !== undefined || isComparison || positionals.length === 0
      ? names
      : positionals.map((name) => oneOf("scenario", name, names)),
    peers: [...new Set<Peer>(["ours", ...others])],
    rounds: Math.round(number("rounds", values.rounds, 1, 1000)),
    // A server may ping after 20 seconds, which the load generator does not expect.
    seconds: number("seconds", values.seconds, 0.1, 15),
    mode: oneOf("mode", values.mode, modes),
    idle: Math.round(number("idle", values.idle, 1, 50_000)),
    markdown: values.markdown,
    svg: values.svg,
    json: values.json,
    compared: isComparison ? [positionals[1], positionals[2]] : undefined
  }
}

/** What was asked for; ends the process where that makes no sense. */
export const readArguments = (): Arguments => {
  try {
    return parse()
  } catch (error) {
    console.error(`${(error as Error).message}\n"npm run bench -- --help" says what can be asked for`)
    return process.exit(2)
  }
}
