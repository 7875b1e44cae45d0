import { assert, describe, it, vi } from "@effect/vitest"
import { Buffer } from "node:buffer"
import { createDeflateRaw, deflateRawSync } from "node:zlib"
import { Inflation } from "../bench/inflation.ts"
import { tooManyConnections } from "../bench/openFiles.ts"
import { peersOf, scenarios, serviceOf } from "../bench/scenarios.ts"
import { beyond } from "../bench/startup.ts"
import * as Wire from "../bench/wire.ts"

const plain = 0x81
const compressed = 0xc1
const withoutTail = (bytes: Buffer) => bytes.subarray(0, -Wire.flushTail.length)

describe("makeReader", () => {
  const frames = [
    Wire.message(3, "bytes"),
    Wire.message(200, "text"),
    Wire.message(0, "text"),
    Wire.message(60_000, "bytes")
  ]
  const bytes = Buffer.concat(frames.map(({ response }) => response))

  it.each([1, 2, 3, 1000, bytes.length])(
    "reads frames from chunks of %i bytes in memory that is used again",
    (size) => {
      const memory = Buffer.alloc(size)
      const read: Array<readonly [number, string]> = []
      let body = ""
      const reader = Wire.makeReader((first) => {
        read.push([first, body])
        body = ""
      }, (part) => (body += part.toString("latin1")))
      for (let at = 0; at < bytes.length; at += size) {
        reader(memory.subarray(0, bytes.copy(memory, 0, at, at + size)))
        memory.fill(0xff)
      }
      assert.deepStrictEqual(read, frames.map(({ payload, response }) => [response[0], payload.toString("latin1")]))
    }
  )
})

describe("Inflation", () => {
  const payloads = ["one", "two", "three"].map((text) => Buffer.from(text.repeat(20)))
  const alone = payloads.map((payload) => withoutTail(deflateRawSync(payload, { finishFlush: 2 })))
  const make = (deflate: Wire.Deflate) => {
    const problems: Array<string> = []
    return { problems, inflation: new Inflation(payloads, deflate, (problem) => problems.push(problem)) }
  }

  it.each(["noTakeover", "takeover"] as const)(
    "accepts the messages in turn, compressed or not, with %s",
    async (deflate) => {
      const { inflation, problems } = make(deflate)
      inflation.accept(compressed, alone[0])
      inflation.accept(plain, payloads[1])
      inflation.accept(compressed, alone[2])
      inflation.accept(compressed, alone[0])
      await vi.waitUntil(() => inflation.pending === 0)
      assert.deepStrictEqual(problems, [])
    }
  )

  it.each(["noTakeover", "takeover"] as const)("reports a message that is out of turn, with %s", async (deflate) => {
    const { inflation, problems } = make(deflate)
    inflation.accept(compressed, alone[1])
    await vi.waitUntil(() => problems.length > 0)
  })

  it("reports an uncompressed message that is out of turn", () => {
    const { inflation, problems } = make("takeover")
    inflation.accept(plain, payloads[1])
    assert.lengthOf(problems, 1)
  })

  it("accepts a message that ends its compressed data without context takeover", () => {
    const { inflation, problems } = make("noTakeover")
    inflation.accept(compressed, deflateRawSync(payloads[0]))
    assert.deepStrictEqual(problems, [])
  })

  it("accepts messages that refer to earlier ones with context takeover", async () => {
    const deflater = createDeflateRaw()
    const { inflation, problems } = make("takeover")
    for (const payload of [...payloads, ...payloads]) {
      deflater.write(payload)
      await new Promise<void>((resolve) => deflater.flush(2, resolve))
      inflation.accept(compressed, withoutTail(deflater.read() as Buffer))
    }
    await vi.waitUntil(() => inflation.pending === 0)
    assert.deepStrictEqual(problems, [])
  })
})

describe("isUpgraded", () => {
  const response = (extensions: string) =>
    `HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n${extensions}`
  const [none, noTakeover, takeover] = [
    response(""),
    response("sec-websocket-extensions: permessage-deflate; server_no_context_takeover"),
    response("Sec-WebSocket-Extensions: permessage-deflate")
  ]

  it("accepts only the compression that was offered", () => {
    const accepted = [none, noTakeover, takeover].map((head) =>
      ([undefined, "noTakeover", "takeover"] as const).map((deflate) => Wire.isUpgraded(head, deflate))
    )
    assert.deepStrictEqual(accepted, [[true, false, false], [false, true, false], [false, false, true]])
  })
})

describe("messages", () => {
  it("repeats no message within a window of compression, and has one message without", () => {
    const shape = { content: "json", protocol: "websocket", size: 1024 } as const
    const distinct = new Set(Wire.messages({ ...shape, deflate: "takeover" }).map(({ payload }) => payload.toString()))
    assert.isAbove([...distinct].join("").length, 32 * 1024)
    assert.lengthOf(Wire.messages(shape), 1)
  })
})

describe("tooManyConnections", () => {
  it("says what limit is needed, and nothing if the limit suffices", () => {
    assert.include(tooManyConnections(10_000, 4096), "at least 10200 open files for 10000 connections, got 4096")
    assert.isUndefined(tooManyConnections(10_000, Number.POSITIVE_INFINITY))
  })
})

describe("scenarios", () => {
  it("leaves out servers that do not broadcast or decode", () => {
    for (const scenario of Object.values(scenarios)) {
      const peers = peersOf(scenario)
      if (serviceOf(scenario) !== "echo") assert.notIncludeMembers([...peers], ["effect", "net"])
      if (serviceOf(scenario) !== "broadcast") assert.notIncludeMembers([...peers], ["bun", "socket.io"])
    }
  })
})

describe("beyond", () => {
  it("returns the median over the rounds, not the difference of medians", () => {
    const starts = (...cpu: ReadonlyArray<number>) => cpu.map((ms) => ({ cpu: ms, elapsed: 0, memory: 0 }))
    assert.strictEqual(beyond(starts(10, 40, 30), starts(5, 30, 10), "cpu"), 10)
  })
})
