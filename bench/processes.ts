/** Servers under test, and Redis, as processes of their own whose CPU time and memory can be read. None outlives this one. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync } from "node:fs"
import * as Net from "node:net"
import { delimiter, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

const running = new Set<ChildProcess>()
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")))

export interface Process {
  readonly port: number
  /** CPU time so far, of all threads, in microseconds: the kernel counts in 10 ms. */
  readonly cpu: () => number
  /** Memory in KiB. */
  readonly memory: () => number
  /** The bytes of the heap and of buffers, without garbage, of a server on Node. */
  readonly heap: () => Promise<number>
  readonly stop: () => Promise<void>
}

const toProcess = (child: ChildProcess, port: number): Process => ({
  port,
  cpu: () => {
    const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1].split(" ")
    return (Number(fields[11]) + Number(fields[12])) * 10_000
  },
  memory: () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))![1]),
  heap: async () => {
    child.stdin!.write("\n")
    const [line] = await once(child.stdout!, "data") as [Buffer]
    return Number(line.toString())
  },
  stop: async () => {
    running.delete(child)
    child.kill("SIGKILL")
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
  }
})

/** Starts `topicsServer.js`, which prints its port. */
export const startServer = async (system: string, program: string, redisUrl = ""): Promise<Process> => {
  const path = fileURLToPath(new URL("topicsServer.js", import.meta.url))
  const child = spawn(program, [path, system, redisUrl], { stdio: ["pipe", "pipe", "inherit"] })
  running.add(child)
  const ended = once(child, "exit").then(() => Promise.reject(new Error(`the server "${system}" did not start`)))
  const [line] = await Promise.race([once(child.stdout, "data"), ended]) as [Buffer]
  ended.catch(() => {})
  return toProcess(child, Number(line.toString()))
}

const redisProgram = (): string | undefined =>
  (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "redis-server")).find((path) =>
    existsSync(path)
  )

const freePort = async (): Promise<number> => {
  const server = Net.createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as Net.AddressInfo
  server.close()
  return port
}

const isListening = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false)).on("connect", () => socket.destroy())
  })

/** Starts a Redis server that keeps nothing on the disk. */
export const startRedis = async (): Promise<Process> => {
  const program = redisProgram()
  if (program === undefined) {
    throw new Error("expected redis-server in PATH, got none: install it, on Debian with apt-get install redis-server")
  }
  const port = await freePort()
  const options = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
  const child = spawn(program, options, { stdio: "ignore" })
  running.add(child)
  while (!await isListening(port)) {
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`)
    await sleep(20)
  }
  return toProcess(child, port)
}
