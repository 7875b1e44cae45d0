/** Runs the laws over the WebSocket of the host: in a page, a worker, or another JavaScript program. It is bundled. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as BrowserClient from "effect-ws/BrowserClient"
import { laws, runLaw } from "./laws.ts"

export const titles: ReadonlyArray<string> = laws.map(({ title }) => title)

/** Runs a law against the law server at a URL. Returns what is wrong, or undefined. */
export const run = async (url: string, title: string): Promise<string | undefined> => {
  const law = laws.find((each) => each.title === title)
  if (law === undefined) return `there is no law "${title}"`
  const exit = await Effect.runPromiseExit(runLaw(law, {
    isBrowser: true,
    connect: (path, options) => BrowserClient.connect(new URL(path, url), options)
  }))
  return Exit.isSuccess(exit) ? undefined : Cause.pretty(exit.cause)
}
