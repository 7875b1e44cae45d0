/**
 * The load generator, a process of its own: writes frames that were built
 * before, and compares each reply with the expected one, byte by byte,
 * without parsing it. So it does much less than any server does.
 *
 * Says that it is ready when all connections are open; then answers each
 * message of its parent with a `LoadSample` of the time since the last one.
 */
import { Buffer } from "node:buffer"
import * as Net from "node:net"
import { performance } from "node:perf_hooks"
import type { Scenario } from "./scenarios.ts"
import * as Wire from "./wire.ts"

export interface LoadJob extends Pick<Scenario, "kind" | "connections" | "inFlight" | "size" | "text"> {
  readonly port: number
  /** No WebSocket: frames are mere bytes, and come back as they were. */
  readonly raw: boolean
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
      if (job.raw) return resolve(link)
      socket.write(Wire.upgrade)
      let head = ""
      link.receive = (length) => {
        head += inbound.toString("latin1", 0, length)
        if (!head.includes("\r\n\r\n")) return
        if (!Wire.isUpgraded(head)) fail(`no upgrade:\n${head}`)
        resolve(link)
      }
    })
  })

/** Opens all connections, some at a time. */
const openAll = async (): Promise<ReadonlyArray<Link>> => {
  const links: Array<Link> = []
  while (links.length < job.connections) {
    links.push(...await Promise.all(Array.from({ length: Math.min(50, job.connections - links.length) }, open)))
  }
  for (const { socket } of links) socket.on("close", () => fail("the server closed a connection"))
  return links
}

// -- what it does with them --------------------------------------------------

const { request, response } = Wire.message(job.size, job.text === true)
const expected = job.raw ? request : response
/** The replies repeat this; a read may begin anywhere in the first message. */
const expectedStream = Buffer.alloc(inbound.length + 2 * expected.length, expected)
/** The bytes of so many messages. */
const requests = Array.from({ length: job.inFlight + 1 }, (_, n) => Buffer.concat(Array<Buffer>(n).fill(request)))

/** Keeps messages going round, or sends one and is quiet; resolves when the first has come back. */
const echo = (link: Link, forever: boolean): Promise<void> =>
  new Promise((resolve) => {
    let at = 0
    let sentAt = performance.now()
    link.receive = (length) => {
      const end = at + length
      if (inbound.compare(expectedStream, at, end, 0, length) !== 0) fail("what came back is not what was sent")
      at = end % expected.length
      const messages = (end - at) / expected.length
      if (messages === 0) return
      resolve()
      if (!forever) return
      count += messages
      if (job.inFlight === 1) {
        const now = performance.now()
        record(now - sentAt)
        sentAt = now
      }
      link.socket.write(requests[messages])
    }
    link.socket.write(requests[job.inFlight])
  })

/** The first connection publishes. When all others have what it published, as far as it goes, it publishes as much again. */
const publish = ([publisher, ...subscribers]: ReadonlyArray<Link>): void => {
  /** To how many the publications under way were delivered, the oldest first. */
  const deliveries: Array<number> = Array<number>(job.inFlight).fill(0)
  let done = 0
  for (const subscriber of subscribers) {
    let at = 0
    let got = 0
    subscriber.receive = (length) => {
      const end = at + length
      if (inbound.compare(expectedStream, at, end, 0, length) !== 0) fail("what came is not what was published")
      at = end % expected.length
      const messages = (end - at) / expected.length
      count += messages
      for (let i = 0; i < messages; i++) deliveries[got++ - done]++
      let completed = 0
      while (completed < deliveries.length && deliveries[completed] === subscribers.length) completed++
      if (completed === 0) return
      done += completed
      deliveries.splice(0, completed)
      deliveries.push(...Array<number>(completed).fill(0))
      publisher.socket.write(requests[completed])
    }
  }
  publisher.receive = () => fail("the publisher was given what it published")
  publisher.socket.write(requests[job.inFlight])
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
    await Promise.all((await openAll()).map((link) => echo(link, forever)))
  }
}

process.on("disconnect", () => process.exit())
process.on("message", () => process.send?.(sample()))
await start()
process.send?.("ready")
