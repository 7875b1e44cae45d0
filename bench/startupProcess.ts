/**
 * A process whose start is measured: `startupProcess.js import [NAME ...]` imports modules, and
 * `startupProcess.js listen SYSTEM` starts a server. It sends a sample once that is done, and another whenever it is asked.
 */
export interface StartupSample {
  /** CPU time of the process so far, in microseconds. */
  readonly cpu: number
  /** Bytes of its memory. */
  readonly rss: number
}

/** Servers, as programs start them: with the index of this library or with its modules, or of ws. */
const servers = {
  "effect-ws": async () => {
    const [{ Effect, Stream }, { Connection, WebSocketServer }] = await Promise.all([
      import("effect"),
      import("effect-ws")
    ])
    return listen({ Connection, Effect, Stream, WebSocketServer })
  },
  "effect-ws, by module": async () => {
    const [Effect, Stream, Connection, WebSocketServer] = await Promise.all([
      import("effect/Effect"),
      import("effect/Stream"),
      import("effect-ws/Connection"),
      import("effect-ws/WebSocketServer")
    ])
    return listen({ Connection, Effect, Stream, WebSocketServer })
  },
  ws: async () => {
    const { WebSocketServer } = await import("ws")
    const server = new WebSocketServer({ host, port: 0 })
    server.on("connection", (socket) => {
      socket.on("message", (data, binary) => socket.send(data, { binary }))
    })
    await new Promise((resolve) => server.on("listening", resolve))
  }
}
export type StartupServer = keyof typeof servers

const host = "127.0.0.1"

const listen = ({ Connection, Effect, Stream, WebSocketServer }: {
  readonly Connection: typeof import("effect-ws/Connection")
  readonly Effect: typeof import("effect/Effect")
  readonly Stream: typeof import("effect/Stream")
  readonly WebSocketServer: typeof import("effect-ws/WebSocketServer")
}): Promise<void> =>
  new Promise((resolve, reject) => {
    const echo = Effect.flatMap(
      Connection.Connection,
      (connection) => Stream.runForEach(connection.messages, connection.send)
    )
    const program = Effect.gen(function*() {
      const server = yield* WebSocketServer.make({ host, port: 0 })
      yield* server.serve(echo)
      resolve()
      return yield* Effect.never
    })
    Effect.runPromise(Effect.scoped(program)).catch(reject)
  })

const send = (): void => {
  const { system, user } = process.cpuUsage()
  process.send!({ cpu: system + user, rss: process.memoryUsage.rss() } satisfies StartupSample)
}

const [action, ...names] = process.argv.slice(2)
if (action === "listen") await servers[names[0] as StartupServer]()
else for (const name of names) await import(name)
process.on("disconnect", () => process.exit())
process.on("message", send)
send()
