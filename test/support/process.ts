/** Programs in processes of their own, which end with the Scope, or with this process if that does not close its Scopes. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"

const build = new URL("../../build/examples/", import.meta.url)

export interface Program {
  readonly child: ChildProcessWithoutNullStreams
  /** All that it has printed. */
  readonly output: () => string
  /** Waits until it has printed something that matches. */
  readonly printed: (pattern: RegExp) => Effect.Effect<RegExpExecArray>
  /** Waits for its end, and answers the exit code, or the signal. */
  readonly ended: Effect.Effect<number | string>
}

/** Starts an example of this project as a user does: the built file, on plain node. */
export const runExample = (
  name: string,
  environment: Readonly<Record<string, string>> = {},
  ...args: ReadonlyArray<string>
): Effect.Effect<Program, never, Scope.Scope> =>
  runProgram(process.execPath, [fileURLToPath(new URL(name, build)), ...args], environment)

/**
 * Kills a process as soon as this one has ended, however it has: a shell reads from a
 * pipe that only this process can write to. Vitest stops its workers with a signal, also
 * one whose test has reached its timeout and does not close its Scope.
 */
const guard = (child: ChildProcess): void => {
  if (child.pid === undefined) return
  const shell = spawn("sh", ["-c", `trap "" INT TERM HUP; read -r _; kill -9 ${child.pid}`], {
    stdio: ["pipe", "ignore", "ignore"]
  })
  child.once("exit", () => shell.kill("SIGKILL"))
}

/** Starts a program, and ends it with the Scope. */
export const runProgram = (
  command: string,
  args: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>> = {}
): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const name = [command, ...args].map((part) => basename(part)).join(" ")
      // Not the environment of the test runner, which has variables of its own.
      const child = spawn(command, args, { env: { PATH: process.env["PATH"], ...environment } })
      guard(child)
      let output = ""
      let end: number | string | undefined
      const watchers = new Set<() => void>()
      const changed = () => watchers.forEach((watch) => watch())
      const collect = (chunk: Buffer) => {
        output += chunk.toString()
        changed()
      }
      child.stdout.on("data", collect)
      child.stderr.on("data", collect)
      child.stdin.on("error", (error) => collect(Buffer.from(`${error.message}\n`)))
      child.on("error", (error) => collect(Buffer.from(`${error.message}\n`)))
      child.on("close", (code, signal) => {
        end = code ?? signal ?? "?"
        changed()
      })
      const wait = <A>(what: string, get: () => A | undefined): Effect.Effect<A> =>
        Effect.callback((resume) => {
          const watch = () => {
            const value = get()
            if (value !== undefined) resume(Effect.succeed(value))
            else if (end !== undefined) {
              resume(Effect.die(new Error(`${name} ended (${end}) before ${what}:\n${output}`)))
            } else return
            watchers.delete(watch)
          }
          watchers.add(watch)
          watch()
          return Effect.sync(() => watchers.delete(watch))
        })
      return {
        child,
        output: () => output,
        printed: (pattern) => wait(`it printed ${pattern}`, () => pattern.exec(output) ?? undefined),
        ended: wait("its end", () => end)
      }
    }),
    (program) =>
      Effect.suspend(() => {
        program.child.kill("SIGKILL")
        return program.ended
      })
  )

/** Starts an example that is a server on a free port. It prints LISTENING and its port or URL. */
export const startServer = (name: string, environment: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const program = yield* runExample(name, { PORT: "0", ...environment })
    const [, port] = yield* program.printed(/LISTENING (?:ws:\/\/127\.0\.0\.1:)?(\d+)\n/)
    return { ...program, port: Number(port), url: `ws://127.0.0.1:${port}` }
  })
