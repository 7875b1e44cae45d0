/** permessage-deflate alone, in this process, beside that of ws; and what it takes in memory. */
import { Effect, Scope } from "effect"
import { Extension, Frame, PerMessageDeflate } from "effect-ws"
import { Buffer } from "node:buffer"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Ws from "ws"
import { json } from "./json.ts"
import { figure, median, type Table } from "./table.ts"

// What ws exports without declaring it.
type Callback = (error: Error | null, data: Buffer) => void
interface WsDeflate {
  readonly accept: (offers: ReadonlyArray<Record<string, ReadonlyArray<true>>>) => void
  readonly compress: (data: Uint8Array, fin: boolean, callback: Callback) => void
  readonly decompress: (data: Uint8Array, fin: boolean, callback: Callback) => void
}
const { PerMessageDeflate: WsPerMessageDeflate } = Ws as unknown as {
  readonly PerMessageDeflate: new(
    options: { readonly isServer: boolean; readonly zlibDeflateOptions?: object }
  ) => WsDeflate
}

/** Takes one message through compression and back; some do it at once. */
type RoundTrip = (message: Frame.Frame) => Frame.Frame | Promise<Frame.Frame>

const noTakeover = ["server_no_context_takeover", "client_no_context_takeover"] as const

const now = <A>(answer: A | Effect.Effect<A, unknown>): A | Promise<A> =>
  Effect.isEffect(answer) ? Effect.runPromise(answer as Effect.Effect<A>) : answer

const ours = (level: Level, takeover: boolean) => {
  const extension = PerMessageDeflate.make({ level, threshold: 0 })
  const parameters = takeover ? [] : noTakeover.map((name) => ({ name, value: undefined }))
  const scope = Effect.runSync(Scope.make())
  const open = (session: Extension.OpenSession) => Effect.runSync(Effect.provideService(session, Scope.Scope, scope))
  const server = open(extension.accept(parameters)!.open)
  const client = open(extension.confirm(parameters) as Extension.OpenSession)
  const room = { used: 0, limit: Number.MAX_SAFE_INTEGER }
  const decode = (frame: Frame.Frame) => now(client.decode(frame, room) as Frame.Frame | Effect.Effect<Frame.Frame>)
  const run: RoundTrip = (message) => {
    const encoded = now(server.encode(message, {}))
    return encoded instanceof Promise ? encoded.then(decode) : decode(encoded)
  }
  return { extension, run }
}

const theirs = (level: Level, takeover: boolean): RoundTrip => {
  const terms = takeover ? {} : Object.fromEntries(noTakeover.map((name) => [name, [true as const]]))
  const server = new WsPerMessageDeflate({ isServer: true, zlibDeflateOptions: { level, memLevel: 5 } })
  const client = new WsPerMessageDeflate({ isServer: false })
  for (const end of [server, client]) end.accept([{ ...terms }])
  return ({ payload }) =>
    new Promise((resolve, reject) =>
      server.compress(payload, true, (failed, compressed) => {
        if (failed !== null) return reject(failed)
        client.decompress(compressed, true, (error, data) => {
          if (error !== null && error !== undefined) return reject(error)
          resolve(Frame.binary(data))
        })
      })
    )
}

type Level = 1 | 2 | 6

/** Microseconds a message. */
const time = async (run: RoundTrip, messages: ReadonlyArray<Frame.Frame>, milliseconds: number): Promise<number> => {
  let count = 0
  const startedAt = performance.now()
  for (;;) {
    for (const message of messages) {
      const result = run(message)
      const { payload } = result instanceof Promise ? await result : result
      if (payload.length !== message.payload.length) throw new Error("what came out is not what went in")
    }
    count += messages.length
    const spent = performance.now() - startedAt
    if (spent >= milliseconds) return spent / count * 1e3
  }
}

const sizes = [128, 1024, 16 * 1024, 64 * 1024, 1024 * 1024, 16 * 1024 * 1024]

const sizeName = (size: number): string =>
  size < 1024 ? `${size} B` : size < 2 ** 20 ? `${size / 1024} KiB` : `${size / 2 ** 20} MiB`

export const benchDeflate = async (rounds: number): Promise<Table> => {
  const rows: Array<ReadonlyArray<string>> = []
  for (const takeover of [true, false]) {
    for (const level of [1, 2, 6] as const) {
      for (const size of sizes) {
        // More than a window of them, so that they do not merely repeat.
        const count = Math.max(1, Math.min(512, Math.floor(2 ** 20 / size)))
        const messages = Array.from({ length: count }, (_, i) => Frame.binary(json(i, size)))
        const { extension, run } = ours(level, takeover)
        const ws = theirs(level, takeover)
        const times = { ours: new Array<number>(), ws: new Array<number>() }
        for (const each of [run, ws]) await time(each, messages, 100)
        for (let round = 0; round < rounds; round++) {
          times.ours.push(await time(run, messages, 200))
          times.ws.push(await time(ws, messages, 200))
        }
        const { received } = Effect.runSync(extension.stats)
        rows.push([
          takeover ? "kept" : "none",
          String(level),
          sizeName(size),
          figure(received.uncompressed / received.compressed),
          figure(median(times.ours)),
          figure(median(times.ws)),
          figure(median(times.ours.map((one, i) => times.ws[i] / one)))
        ])
      }
    }
  }
  return { head: ["context", "level", "JSON of", "shorter", "µs", "µs ws", "ours/ws"], rows, textColumns: 3 }
}

/** KiB that each of many takes, in a process of its own. */
const memoryOf = (...options: ReadonlyArray<string>): number =>
  Number(execFileSync(process.execPath, [
    "--expose-gc",
    fileURLToPath(new URL("deflateMemory.js", import.meta.url)),
    ...options
  ]))

export const benchDeflateMemory = (): Table => ({
  head: ["window", "memoryLevel", "deflater KiB", "inflater KiB"],
  rows: [[15, 9], [15, 8], [15, 5], [15, 1], [13, 5], [12, 5], [11, 5], [10, 4], [9, 1]].map(([bits, level]) => [
    String(bits),
    String(level),
    figure(memoryOf("deflate", String(bits), String(level))),
    figure(memoryOf("inflate", String(bits)))
  ]),
  textColumns: 0
})
