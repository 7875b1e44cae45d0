/** The server under the soak, in its own process, as the soak sees it. */
import { fork } from "node:child_process"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import type { Sample } from "./sample.ts"

export interface Subject {
  readonly url: string
  readonly port: number
  /** The port of an application with routes. */
  readonly routes: number
  /** How it fares. */
  readonly ask: () => Promise<Sample>
  /** How it fares once all connections have ended, or have had time enough for that, and some milliseconds later. */
  readonly quiet: (later: number) => Promise<Sample>
  readonly stop: () => void
}

/** How long the server has to end what its clients have ended, in milliseconds. */
const patience = 15_000

/** How many connections have not ended. */
export const unended = ({ connections, ends }: Sample): number =>
  connections - Object.values(ends).reduce((sum, count) => sum + count, 0)

/** Starts it, with a fault of `faults.ts` if one is named. Should it end before it is stopped, so does this process. */
export const start = async (fault: string | undefined): Promise<Subject> => {
  let stopping = false
  const child = fork(fileURLToPath(new URL("server.js", import.meta.url)), fault === undefined ? [] : [fault], {
    execArgv: ["--expose-gc"]
  })
  child.on("exit", (code, signal) => {
    if (stopping) return
    console.error(`VIOLATION: the server has ended: ${code ?? signal}`)
    process.exit(1)
  })
  process.on("exit", () => child.kill("SIGKILL"))
  const next = <A>(): Promise<A> => new Promise((resolve) => child.once("message", (message) => resolve(message as A)))
  const ask = (): Promise<Sample> => {
    const answer = next<Sample>()
    child.send("sample")
    return answer
  }
  const { routes, url } = await next<{ readonly url: string; readonly routes: number }>()
  return {
    url,
    port: Number(new URL(url).port),
    routes,
    ask,
    quiet: async (later) => {
      const until = performance.now() + patience
      while (unended(await ask()) > 0 && performance.now() < until) await sleep(100)
      await sleep(later)
      return ask()
    },
    stop: () => {
      stopping = true
      child.kill("SIGKILL")
    }
  }
}
