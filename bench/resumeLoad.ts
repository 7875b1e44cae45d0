/**
 * Clients that lose their connections, miss messages, and resume all at once, a process of its own: `resumeLoad.js JOB`. It
 * says when they have missed the messages, and answers its parent's message with the sample once all have resumed.
 */
import { performance } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import { WebSocket } from "ws"

export interface ResumeJob {
  /** Of the two servers, which have half of the clients each. */
  readonly ports: ReadonlyArray<number>
  readonly isSocketIo: boolean
  readonly clients: number
  /** Messages that each misses. */
  readonly missed: number
}

export interface ResumeSample {
  /** Clients that have got all that they missed. */
  readonly recovered: number
  /** From the first attempt until the last client has resumed. */
  readonly millis: number
}

const job = JSON.parse(process.argv[2]) as ResumeJob

/** Connections that are opened at a time. */
const concurrency = 256

/** What a client knows of its session. */
interface Session {
  /** Of Socket.IO. */
  id?: string | undefined
  /** The position of the newest message. */
  position?: string | undefined
}

/** What a frame says: a session has begun or is resumed, a message, or nothing of the two. */
type Said = { readonly _tag: "Begun"; readonly session: Session } | {
  readonly _tag: "Message"
  readonly position: string
}

interface Protocol {
  readonly path: (query: string, session: Session) => string
  /** The frame to send when a frame has come. */
  readonly answer: (frame: string, session: Session) => string | undefined
  readonly read: (frame: string) => Said | undefined
  readonly publish: (text: string) => string
}

interface OurFrame {
  readonly _tag: "Subscribed" | "Message"
  readonly position: { readonly epoch: string; readonly offset: number }
}

const ours: Protocol = {
  path: (query, { position }) => `/?${query}${position === undefined ? "" : `&since=${encodeURIComponent(position)}`}`,
  answer: () => undefined,
  read: (frame) => {
    const { _tag, position: { epoch, offset } } = JSON.parse(frame) as OurFrame
    const position = `${epoch}:${offset}`
    return _tag === "Subscribed" ? { _tag: "Begun", session: { position } } : { _tag: "Message", position }
  },
  publish: (text) => `0:${text}`
}

const socketIo: Protocol = {
  path: (query) => `/socket.io/?EIO=4&transport=websocket&${query}`,
  answer: (frame, { id, position }) => {
    if (frame === "2") return "3"
    if (!frame.startsWith("0")) return undefined
    return position === undefined ? "40" : `40${JSON.stringify({ pid: id, offset: position })}`
  },
  read: (frame) => {
    if (frame.startsWith("40")) {
      return { _tag: "Begun", session: { id: (JSON.parse(frame.slice(2)) as { pid: string }).pid } }
    }
    if (!frame.startsWith("42")) return undefined
    return { _tag: "Message", position: (JSON.parse(frame.slice(2)) as ReadonlyArray<string>).at(-1)! }
  },
  publish: (text) => `42${JSON.stringify(["p", `0:${text}`])}`
}

const protocol = job.isSocketIo ? socketIo : ours

const open = (port: number, query: string, session: Session, onSaid: (said: Said) => void): Promise<WebSocket> =>
  new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${protocol.path(query, session)}`, { perMessageDeflate: false })
    socket.on("error", (error) => {
      console.error(`load generator: ${error.message}`)
      process.exit(1)
    })
    // The publisher of ours is told nothing.
    if (query === "p=1" && !job.isSocketIo) socket.on("open", () => resolve(socket))
    socket.on("message", (data: Buffer) => {
      const frame = data.toString()
      const answer = protocol.answer(frame, session)
      if (answer !== undefined) socket.send(answer)
      const said = protocol.read(frame)
      if (said === undefined) return
      if (said._tag === "Begun") resolve(socket)
      onSaid(said)
    })
  })

const sessions: ReadonlyArray<Session> = Array.from({ length: job.clients }, () => ({}))
const portOf = (i: number): number => job.ports[i % job.ports.length]

/** Opens the connections of all clients, some at a time; each is done when `isDone` says so. */
const openAll = async (isDone: (client: { readonly messages: number; readonly isResumed: boolean }) => boolean) => {
  let next = 0
  let failed = 0
  const sockets: Array<WebSocket> = []
  const openNext = async (): Promise<void> => {
    for (let i = next++; i < job.clients; i = next++) {
      const session = sessions[i]
      const earlier = { ...session }
      let messages = 0
      let isResumed = false
      await new Promise<void>((resolve) => {
        const onSaid = (said: Said): void => {
          if (said._tag === "Message") {
            messages++
            session.position = said.position
          } else {
            isResumed = !job.isSocketIo || said.session.id === earlier.id
            if (!isResumed && earlier.id !== undefined) {
              failed++
              return resolve()
            }
            session.id = said.session.id
            // Ours resumes from the position, whatever it says of the one to come.
            session.position ??= said.session.position
          }
          if (isDone({ messages, isResumed })) resolve()
        }
        open(portOf(i), "t=0", earlier, onSaid).then((socket) => sockets.push(socket))
      })
    }
  }
  await Promise.all(Array.from({ length: concurrency }, openNext))
  return { sockets, failed }
}

const { sockets } = await openAll(() => true)
const publisher = await open(job.ports[0], "p=1", {}, () => {})
/** Socket.IO has a position from the first message on. */
publisher.send(protocol.publish("first"))
while (!sessions.every(({ position }) => position !== undefined)) await sleep(10)
await sleep(500)
for (const socket of sockets) socket.terminate()
// The servers notice, and store the sessions.
await sleep(2000)
for (let i = 0; i < job.missed; i++) publisher.send(protocol.publish(`missed ${i}`))
await sleep(500)

process.on("disconnect", () => process.exit())
process.on("message", async () => {
  const start = performance.now()
  const { failed } = await openAll(({ messages }) => messages === job.missed)
  process.send?.({ recovered: job.clients - failed, millis: performance.now() - start } satisfies ResumeSample)
})
process.send?.("ready")
