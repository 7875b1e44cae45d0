/**
 * The subscribers and the publisher of topics, a process of its own: `topicsLoad.js JOB`. It counts frames, and publishes
 * as long as few deliveries are under way. It answers each message of its parent with a sample of the time since the last.
 */
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import { performance } from "node:perf_hooks"
import * as Wire from "./wire.ts"

export interface TopicsJob {
  /** Of the server with the subscribers. */
  readonly port: number
  /** Of the server that publishes. */
  readonly publishPort: number
  readonly isSocketIo: boolean
  /** Text frames that a subscriber gets before the first message. */
  readonly greetings: number
  readonly topics: number
  readonly subscribers: number
  /** Whether each subscriber subscribes to all topics. Default: each to one, in turn. */
  readonly toAll?: boolean
  /** Publications under way. */
  readonly inFlight: number
  /** Subscribers that stop reading once they are subscribed. */
  readonly stalled: number
  /** The maximum number of publications. Default: no limit. */
  readonly limit?: number
  /** Bytes of the text of a message. */
  readonly size: number
}

export interface TopicsSample {
  /** Deliveries a second. */
  readonly rate: number
  readonly count: number
  readonly busy: number
  /** From a publication to its delivery, in microseconds. */
  readonly p50: number
  readonly p99: number
}

const job = JSON.parse(process.argv[2]) as TopicsJob

const fail = (problem: string): never => {
  console.error(`load generator: ${problem}`)
  process.exit(1)
}

/** Opens a connection. It is ready when its greetings have come. */
const open = (port: number, query: string, greetings: number, onMessage: () => void): Promise<Net.Socket> =>
  new Promise((resolve) => {
    const socket = Net.connect({ host: "127.0.0.1", port, noDelay: true })
    socket.on("error", (error) => fail(error.message))
    socket.on("close", () => fail("the server closed a connection"))
    let upgraded = false
    let greeted = 0
    const read = Wire.makeReader(() => {
      if (greeted === greetings) return onMessage()
      // Engine.IO has opened; this connects to the namespace of Socket.IO.
      if (job.isSocketIo && greeted === 0) socket.write(Wire.socketIoConnect())
      if (++greeted === greetings) resolve(socket)
    })
    let head = Buffer.alloc(0)
    socket.on("data", (chunk) => {
      if (upgraded) return read(chunk)
      head = Buffer.concat([head, chunk])
      const end = head.indexOf("\r\n\r\n")
      if (end < 0) return
      upgraded = true
      if (!Wire.isUpgraded(head.toString("latin1", 0, end + 4))) fail("no upgrade")
      if (greetings === 0) resolve(socket)
      read(head.subarray(end + 4))
    })
    socket.write(Wire.upgrade({ query, isSocketIo: job.isSocketIo }))
  })

let count = 0
let received = 0
let expected = 0
let published = 0
const latencies: Array<number> = []
/** When each publication in the first topic was written, the oldest first. */
const writtenAt: Array<number> = []
let since = performance.now()
let utilization = performance.eventLoopUtilization()

const sample = (): TopicsSample => {
  const now = performance.now()
  const sorted = latencies.splice(0).toSorted((a, b) => a - b)
  const result = {
    rate: count / (now - since) * 1000,
    count,
    busy: performance.eventLoopUtilization(utilization).utilization,
    p50: sorted[Math.floor(sorted.length * 0.5)] * 1000,
    p99: sorted[Math.floor(sorted.length * 0.99)] * 1000
  }
  count = 0
  since = now
  utilization = performance.eventLoopUtilization()
  return result
}

const text = "x".repeat(job.size)
const frames = Array.from(
  { length: job.topics },
  (_, topic) => Wire.textFrame(job.isSocketIo ? Wire.socketIoEvent(`${topic}:${text}`) : `${topic}:${text}`)
)

const topicsOf = (subscriber: number): string =>
  job.toAll === true ? Array.from({ length: job.topics }, (_, i) => i).join(",") : `${subscriber % job.topics}`

const start = async (): Promise<void> => {
  const fanOut = (job.subscribers - job.stalled) / job.topics
  let publisher: Net.Socket | undefined
  const publish = (): void => {
    while (expected - received < job.inFlight * fanOut && published < (job.limit ?? Number.POSITIVE_INFINITY)) {
      const topic = published++ % job.topics
      if (topic === 0) writtenAt.push(performance.now())
      expected += fanOut
      publisher!.write(frames[topic])
    }
  }
  const stalled: Array<Net.Socket> = []
  for (let i = 0; i < job.subscribers; i++) {
    const isWitness = i === job.stalled
    const socket = await open(job.port, `t=${topicsOf(i)}`, job.greetings, () => {
      count++
      received++
      if (isWitness) latencies.push(performance.now() - writtenAt.shift()!)
      publish()
    })
    if (i < job.stalled) stalled.push(socket)
  }
  for (const socket of stalled) socket.pause()
  publisher = await open(job.publishPort, "p=1", job.isSocketIo ? Wire.socketIoGreetings : 0, () => {})
  publish()
}

process.on("disconnect", () => process.exit())
process.on("message", () => process.send?.(sample()))
await start()
process.send?.("ready")
