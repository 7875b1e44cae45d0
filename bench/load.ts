/**
 * The load generator, a process of its own: writes frames that were built
 * before, and compares each reply with the expected one, byte by byte,
 * without parsing it. So it does much less than any server does. If the server
 * compresses, it counts frames, and inflates those of one connection.
 *
 * Says that it is ready when all connections are open; then answers each
 * message of its parent with a `LoadSample` of the time since the last one.
 */
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import { performance } from "node:perf_hooks"
import { Inflation } from "./inflation.ts"
import type { Scenario } from "./scenarios.ts"
import * as Wire from "./wire.ts"

export interface LoadJob extends Pick<Scenario, "kind" | "connections" | "inFlight" | "size"> {
  readonly port: number
  readonly content: Wire.Content
  readonly deflate: Wire.Deflate | undefined
  readonly protocol: Wire.Protocol
}

export interface LoadSample {
  /** Messages, or connections, a second. */
  readonly rate: number
  readonly count: number
  /** How much of the time the event loop was busy, from 0 to 1. */
  readonly busy: number
  /** Of the round trip, in microseconds. */
  readonly p50: number
  readonly p99: number
}

const job = JSON.parse(process.argv[2]) as LoadJob

const fail = (problem: string): never => {
  console.error(`load generator: ${problem}`)
  process.exit(1)
}

// -- figures -----------------------------------------------------------------

let count = 0
const latencies = new Float32Array(1 << 22)
let latenciesEnd = 0

const record = (milliseconds: number): void => {
  if (latenciesEnd < latencies.length) latencies[latenciesEnd++] = milliseconds * 1000
}

let since = performance.now()
let utilization = performance.eventLoopUtilization()

const sample = (): LoadSample => {
  const now = performance.now()
  const sorted = latencies.subarray(0, latenciesEnd).toSorted()
  const result = {
    rate: count / (now - since) * 1000,
    count,
    busy: performance.eventLoopUtilization(utilization).utilization,
    p50: sorted[Math.floor(sorted.length * 0.5)],
    p99: sorted[Math.floor(sorted.length * 0.99)]
  }
  count = 0
  latenciesEnd = 0
  since = performance.now()
  utilization = performance.eventLoopUtilization()
  return result
}

// -- connections -------------------------------------------------------------

interface Link {
  readonly socket: Net.Socket
  /** Gets the number of bytes that have come; they are at the beginning of `inbound`. */
  receive: (length: number) => void
}

/** All connections read into this, one after the other. */
const inbound = Buffer.alloc(256 * 1024)

/** Opens a connection; its `receive` gets all further data. */
const open = (): Promise<Link> =>
  new Promise((resolve) => {
    const socket = Net.connect({
      host: "127.0.0.1",
      port: job.port,
      noDelay: true,
      onread: {
        buffer: inbound,
        callback: (length) => {
          link.receive(length)
          return true
        }
      }
    })
    const link: Link = { socket, receive: () => fail("the server spoke first") }
    socket.on("error", (error) => fail(error.message))
    socket.on("connect", () => {
      if (job.protocol === "raw") return resolve(link)
      socket.write(Wire.upgrade({ isSocketIo: job.protocol === "socket.io", deflate: job.deflate }))
      let head = Buffer.alloc(0)
      link.receive = (length) => {
        head = Buffer.concat([head, inbound.subarray(0, length)])
        const end = head.indexOf("\r\n\r\n")
        if (end < 0) return
        const response = head.toString("latin1", 0, end)
        if (!Wire.isUpgraded(response, job.deflate)) fail(`expected an upgrade as offered, got\n${response}`)
        if (job.protocol === "socket.io") greet(link, head.subarray(end + 4), () => resolve(link))
        else resolve(link)
      }
    })
  })

/** Connects to the namespace of Socket.IO. The bytes have come behind the handshake. */
const greet = (link: Link, bytes: Buffer, whenConnected: () => void): void => {
  let greetings = 0
  const read = Wire.makeReader(() => {
    if (++greetings === 1) link.socket.write(Wire.socketIoConnect())
    if (greetings === Wire.socketIoGreetings) whenConnected()
  })
  link.receive = (length) => read(inbound.subarray(0, length))
  read(bytes)
}

/** Opens all connections, some at a time. */
const openAll = async (): Promise<ReadonlyArray<Link>> => {
  const links: Array<Link> = []
  while (links.length < job.connections) {
    links.push(...await Promise.all(Array.from({ length: Math.min(50, job.connections - links.length) }, open)))
  }
  for (const { socket } of links) socket.on("close", () => fail("the server closed a connection"))
  return links
}

// -- messages ----------------------------------------------------------------

const messages = Wire.messages(job)

/** The messages in turn, so that as many as may be under way follow each; and where each begins. */
const ring = Array.from({ length: messages.length + job.inFlight }, (_, i) => messages[i % messages.length].request)
const ringBytes = Buffer.concat(ring)
const ringOffsets = [0]
for (const { length } of ring) ringOffsets.push(ringOffsets[ringOffsets.length - 1] + length)

/** Writes so many messages, the next in turn. */
const makeWriter = ({ socket }: Link): (count: number) => void => {
  let at = 0
  return (many) => {
    socket.write(ringBytes.subarray(ringOffsets[at], ringOffsets[at + many]))
    at = (at + many) % messages.length
  }
}

/** Checks a read, and returns how many messages it has completed. */
type Counter = (length: number) => number

const [{ response: expected }] = messages
/** The replies repeat this; a read may begin anywhere in the first message. */
const expectedStream = job.deflate === undefined
  ? Buffer.alloc(inbound.length + 2 * expected.length, expected)
  : Buffer.alloc(0)

/** Of a server that does not compress: it always sends the same bytes. */
const exactCounter = (): Counter => {
  let at = 0
  return (length) => {
    const end = at + length
    if (inbound.compare(expectedStream, at, end, 0, length) !== 0) fail("what the server sends is not what it was sent")
    at = end % expected.length
    return (end - at) / expected.length
  }
}

/** Of a server that compresses. */
const frameCounter = (inflation?: Inflation): Counter => {
  let completed = 0
  const parts: Array<Buffer> = []
  const read = Wire.makeReader((first) => {
    if (!Wire.isText(first)) fail(`expected a text message, got a frame that begins with ${first}`)
    completed++
    inflation?.accept(first, Buffer.concat(parts.splice(0)))
  }, inflation === undefined ? undefined : (part) => parts.push(Buffer.from(part)))
  return (length) => {
    completed = 0
    read(inbound.subarray(0, length))
    return completed
  }
}

/** The counters of all connections. The first of those that compress inflates, which would take too long for all. */
const makeCounters = (links: number): ReadonlyArray<Counter> => {
  const { deflate } = job
  if (deflate === undefined) return Array.from({ length: links }, exactCounter)
  const witness = new Inflation(messages.map(({ payload }) => payload), deflate, fail)
  return Array.from({ length: links }, (_, i) => frameCounter(i === 0 ? witness : undefined))
}

// -- what it does with them --------------------------------------------------

/** Keeps messages going round, or sends one and is quiet; resolves when the first has come back. */
const echo = (link: Link, counter: Counter, forever: boolean): Promise<void> =>
  new Promise((resolve) => {
    const write = makeWriter(link)
    let sentAt = performance.now()
    link.receive = (length) => {
      const received = counter(length)
      if (received === 0) return
      resolve()
      if (!forever) return
      count += received
      if (job.inFlight === 1) {
        const now = performance.now()
        record(now - sentAt)
        sentAt = now
      }
      write(received)
    }
    write(job.inFlight)
  })

/** The first connection publishes. When all others have what it published, as far as it goes, it publishes as much again. */
const publish = ([publisher, ...subscribers]: ReadonlyArray<Link>): void => {
  /** To how many the publications under way were delivered, the oldest first. */
  const deliveries: Array<number> = Array<number>(job.inFlight).fill(0)
  let done = 0
  const write = makeWriter(publisher)
  const counters = makeCounters(subscribers.length)
  for (const [index, subscriber] of subscribers.entries()) {
    const counter = counters[index]
    let got = 0
    subscriber.receive = (length) => {
      const received = counter(length)
      count += received
      for (let i = 0; i < received; i++) deliveries[got++ - done]++
      let completed = 0
      while (completed < deliveries.length && deliveries[completed] === subscribers.length) completed++
      if (completed === 0) return
      done += completed
      deliveries.splice(0, completed)
      deliveries.push(...Array<number>(completed).fill(0))
      write(completed)
    }
  }
  publisher.receive = () => fail("the publisher was given what it published")
  write(job.inFlight)
}

/** Opens and closes connections, one after the other. */
const shake = async (): Promise<never> => {
  while (true) {
    const startedAt = performance.now()
    const link = await open()
    record(performance.now() - startedAt)
    await new Promise<void>((resolve) => {
      link.receive = () => {
        if (inbound[0] !== Wire.closeOpcode) fail("a close frame was not answered with one")
      }
      link.socket.on("close", () => resolve())
      link.socket.write(Wire.close)
    })
    count++
  }
}

const start = async (): Promise<void> => {
  if (job.kind === "handshakes") {
    for (let i = 0; i < job.connections; i++) void shake()
  } else if (job.kind === "broadcast") {
    publish(await openAll())
  } else {
    const forever = job.kind === "traffic"
    const links = await openAll()
    const counters = makeCounters(links.length)
    await Promise.all(links.map((link, i) => echo(link, counters[i], forever)))
  }
}

process.on("disconnect", () => process.exit())
process.on("message", () => process.send?.(sample()))
await start()
process.send?.("ready")
