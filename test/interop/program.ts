/** Peers that are programs in peers/, which say there how they are told what to do. */
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import { runProgram } from "../support/process.ts"
import type { Peer } from "./exchanges.ts"

/** Starts a program of peers/, which is both a server and a client. `args` of the command precede the file. */
export const startProgram = (command: string, file: string, args: ReadonlyArray<string> = []): Peer["start"] =>
  Effect.gen(function*() {
    const script = fileURLToPath(new URL(`peers/${file}`, import.meta.url))
    const program = yield* runProgram(command, [...args, script], { PYTHONDONTWRITEBYTECODE: "1" })
    const [, port] = yield* program.printed(/^\{"port": ?(\d+)\}$/m)
    return {
      url: `ws://127.0.0.1:${port}`,
      connect: (url, protocols) =>
        Effect.sync(() => {
          program.child.stdin.write(`${JSON.stringify({ url, path: new URL(url).pathname, protocols })}\n`)
        }),
      ended: (path) =>
        Effect.map(program.printed(new RegExp(`^\\{"ended": ?"${path}",.*\\}$`, "m")), ([line]) => {
          const { code, reason } = JSON.parse(line)
          return { code: code ?? undefined, reason }
        })
    }
  })
