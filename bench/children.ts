/** Child processes that are asked and answer. None outlives this process. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"

const running = new Set<ChildProcess>()

const killAll = (): void => running.forEach((child) => child.kill("SIGKILL"))
process.on("exit", killAll)
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130))

export class Child {
  private readonly process: ChildProcess
  private readonly name: string

  constructor(
    script: string,
    args: ReadonlyArray<string>,
    execArgv: ReadonlyArray<string> = [],
    execPath: string = process.execPath
  ) {
    this.name = script
    const path = fileURLToPath(new URL(`${script}.js`, import.meta.url))
    this.process = fork(path, args, {
      execPath,
      execArgv: [...execArgv],
      stdio: ["ignore", "inherit", "inherit", "ipc"]
    })
    running.add(this.process)
    this.process.on("error", () => {})
    this.process.on("exit", () => running.delete(this.process))
  }

  /** The next that it says. */
  next<A>(): Promise<A> {
    return new Promise((resolve, reject) => {
      const child = this.process
      const settle = (): void => {
        child.off("message", onMessage)
        child.off("exit", onExit)
      }
      const onMessage = (message: unknown): void => {
        settle()
        resolve(message as A)
      }
      const onExit = (): void => {
        settle()
        reject(new Error(`the process "${this.name}" has ended`))
      }
      child.on("message", onMessage)
      child.on("exit", onExit)
      if (!running.has(child)) onExit()
    })
  }

  ask<A>(what = "sample"): Promise<A> {
    if (this.process.connected) this.process.send(what)
    return this.next()
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      if (!running.has(this.process)) return resolve()
      this.process.on("exit", () => resolve())
      this.process.kill("SIGKILL")
    })
  }
}
