/** `npm run fuzz`: looks for findings for a while, or replays one. */
import { parseArgs } from "node:util"
import { fuzz, makeWatchdog, runOnce, type Target } from "./engine.ts"
import { targets } from "./targets.ts"

const usage = `npm run fuzz -- [--time <seconds>] [--seed <number>] [--target <name>] [--replay <base64>]

Runs all targets in turn, 60 seconds in all, or the one that is named. The targets:
${targets.map(({ name }) => `  ${name}`).join("\n")}`

export const main = async (args: ReadonlyArray<string>): Promise<number> => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      time: { type: "string", default: "60" },
      seed: { type: "string" },
      target: { type: "string" },
      replay: { type: "string" },
      help: { type: "boolean", default: false }
    }
  })
  const chosen = targets.filter(({ name }) => values.target === undefined || name === values.target)
  if (values.help || chosen.length === 0 || (values.replay !== undefined && chosen.length > 1)) {
    console.log(usage)
    return values.help ? 0 : 1
  }
  if (values.replay !== undefined) return replay(chosen[0], Buffer.from(values.replay, "base64"))

  const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
  const time = Number(values.time) * 1000 / chosen.length
  const watchdog = makeWatchdog()
  let latest: Uint8Array = new Uint8Array()
  let current = ""
  // An uncaught exception in a callback is a finding too.
  process.on("uncaughtException", (error) => {
    console.error(error)
    console.log(`${current} threw an uncaught exception\n  ${replayCommand(current, latest)}`)
    process.exit(1)
  })
  let findings = 0
  for (const target of chosen) {
    const end = performance.now() + time
    current = target.name
    const { corpus, executions, finding } = await fuzz(target, {
      seed,
      until: () => performance.now() >= end,
      onInput: (input) => {
        latest = input
        watchdog.onInput(input)
      }
    })
    console.log(`${target.name}: seed ${seed}, ${executions} executions, ${corpus} inputs in the corpus`)
    if (finding === undefined) continue
    findings++
    console.log(`  found: ${finding.error.stack}\n${explain(target, finding.input)}`)
    console.log(`  ${replayCommand(target.name, finding.input)}`)
  }
  watchdog.stop()
  return findings === 0 ? 0 : 1
}

const replayCommand = (name: string, input: Uint8Array): string =>
  `npm run fuzz -- --target ${name} --replay '${Buffer.from(input).toString("base64")}'`

const explain = (target: Target, input: Uint8Array): string =>
  target.explain?.(input) ?? JSON.stringify(Buffer.from(input).toString("latin1"))

const replay = async (target: Target, input: Uint8Array): Promise<number> => {
  console.log(explain(target, input))
  const stop = await target.start?.()
  const outcome = await runOnce(target, input)
  await stop?.()
  console.log(outcome instanceof Error ? outcome.stack : outcome)
  return outcome instanceof Error ? 1 : 0
}
