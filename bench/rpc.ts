/** Calls of effect/rpc over this library at both ends, beside Effect's own server and client, which stand on ws. */
import { setTimeout as sleep } from "node:timers/promises"
import { Child } from "./children.ts"
import { measureInTurn } from "./rounds.ts"
import type { RpcSample, RpcSystem } from "./rpcProcess.ts"
import { figure, median, type Table } from "./table.ts"

const systems: ReadonlyArray<RpcSystem> = ["ours", "effect"]

const shapes = [
  { about: "1 socket, 1 call in flight", sockets: 1, calls: 1 },
  { about: "1 socket, 64 calls in flight", sockets: 1, calls: 64 },
  { about: "16 sockets, 16 calls in flight on each", sockets: 16, calls: 16 },
  { about: "1 stream", sockets: 1, calls: 0 }
] as const

interface Row {
  readonly rate: number
  /** CPU time of a call, in microseconds. */
  readonly server: number
  readonly client: number
}

const measure = async (system: RpcSystem, shape: typeof shapes[number], seconds: number): Promise<Row> => {
  const server = new Child("rpcProcess", ["server", system])
  const port = await server.next<number>()
  const client = new Child("rpcProcess", ["client", system, port, shape.sockets, shape.calls].map(String))
  try {
    await client.next()
    await sleep(1000)
    await Promise.all([server.ask(), client.ask()])
    const start = performance.now()
    await sleep(seconds * 1000)
    const [atServer, atClient] = await Promise.all([server.ask<RpcSample>(), client.ask<RpcSample>()])
    const { count } = atClient
    return {
      rate: count * 1000 / (performance.now() - start),
      server: atServer.cpu / count,
      client: atClient.cpu / count
    }
  } finally {
    await client.stop()
    await server.stop()
  }
}

/** Measures both systems in turn, round by round. */
export const benchRpc = async (
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
  progress: (text: string) => void
): Promise<ReadonlyArray<Table>> => {
  const rows: Array<ReadonlyArray<string>> = []
  for (const shape of shapes) {
    const measured = await measureInTurn(
      shape.about,
      systems,
      rounds,
      progress,
      (system) => measure(system, shape, seconds)
    )
    const medianOf = (system: RpcSystem, name: keyof Row) => median(measured.get(system)!.map((row) => row[name]))
    for (const system of systems) {
      rows.push([
        shape.about,
        system,
        ...(["rate", "server", "client"] as const).map((name) => figure(medianOf(system, name))),
        figure(medianOf(system, "rate") / medianOf("effect", "rate"))
      ])
    }
  }
  progress("")
  return [{
    head: ["effect/rpc, JSON", "both ends", "calls/s", "server CPU us", "client CPU us", "times Effect's own"],
    rows,
    textColumns: 2
  }]
}
