/** Prints how many KiB of memory a connection takes that has sent (deflate) or received (inflate) more than a window. */
import { Effect, Scope } from "effect"
import { type Extension, Frame, PerMessageDeflate } from "effect-ws"
import { setImmediate as turn } from "node:timers/promises"
import { json } from "./json.ts"

const [direction, bits, level] = process.argv.slice(2)
const size = 1024
const extension = PerMessageDeflate.make({
  serverMaxWindowBits: Number(bits) as PerMessageDeflate.WindowBits,
  clientMaxWindowBits: Number(bits) as PerMessageDeflate.WindowBits,
  memoryLevel: Number(level ?? 5) as 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9,
  memoryLimit: Number.POSITIVE_INFINITY
})
const scope = Effect.runSync(Scope.make())
const open = (session: Extension.OpenSession) => Effect.runSync(Effect.provideService(session, Scope.Scope, scope))
const { open: server } = extension.accept([{ name: "client_max_window_bits", value: undefined }])!
const messages = Array.from({ length: 80 }, (_, i) => Frame.binary(json(i, size)))
const sender = open(server)
const compressed = messages.map((message) => sender.encode(message, {}) as Frame.Frame)
const room = { used: 0, limit: 2 * size }

const sessions: Array<Extension.Session> = []
const add = async (count: number) => {
  for (let i = 0; i < count; i++) {
    const session = open(server)
    sessions.push(session)
    // The windows of both ends are the same, so that what one has sent the other can read.
    if (direction === "deflate") { for (const message of messages) session.encode(message, {}) }
    else for (const frame of compressed) session.decode(frame, room)
    // What came out of it is not what is measured.
    if (i % 4 === 0) await collect()
  }
}
const collect = async () => {
  await turn()
  const { gc } = globalThis as { readonly gc?: () => void }
  gc?.()
}

await add(20)
const before = process.memoryUsage.rss()
const count = 500
await add(count)
console.log((process.memoryUsage.rss() - before) / count / 1024)
process.exit()
