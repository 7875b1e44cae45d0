/** The same bytes, read by this library and by ws: what they differ in has a reason, or is a defect. */
import { Frame, Message } from "effect-ws"
import { strict as assert } from "node:assert"
import type { Writable } from "node:stream"
import * as ws from "ws"
import { Protocol } from "../../src/internal/protocol/connectionProtocol.ts"
import type { Target } from "./engine.ts"
import { type Choices, Random, Tape } from "./random.ts"
import { conversation, cut, type Role } from "./wire.ts"

/** What bytes come to. */
export interface Reading {
  /** Messages and pings, in order. */
  readonly delivered: ReadonlyArray<string>
  readonly pongs: ReadonlyArray<string>
  /** The peer's close frame. */
  readonly close: string | undefined
  /** The code that the connection is failed with. */
  readonly code: number | undefined
  /** What is wrong, in the reader's own words. */
  readonly problem: string | undefined
}

export interface Case {
  /** Who reads. */
  readonly role: Role
  readonly maxMessageSize: number
  readonly maxFragments: number
  readonly chunks: ReadonlyArray<Uint8Array>
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1")

export const readOurs = ({ chunks, maxFragments, maxMessageSize, role }: Case): Reading => {
  const protocol = new Protocol(role, Frame.makeCodec(), {
    maxMessageSize,
    maxFragments,
    autoPong: false,
    autoClose: false
  })
  const assembler = new Message.Assembler()
  const delivered: Array<string> = []
  const pongs: Array<string> = []
  let close: string | undefined
  for (const chunk of chunks) {
    const received = protocol.receive(Uint8Array.from(chunk))
    pongs.push(...(received.pongPayloads ?? []).map(latin1))
    for (const frame of received.deliver) {
      if (frame.opcode === Frame.Opcode.Close) {
        const read = Frame.readClose(frame.payload)
        assert.ok(!("_tag" in read), "only a valid close frame is delivered")
        close = `${read.code} ${read.reason}`
      } else if (frame.opcode === Frame.Opcode.Ping) delivered.push(`Ping ${latin1(frame.payload)}`)
      else {
        const message = assembler.push(frame)
        assert.ok(!(message instanceof Error), "no message is too large for V8")
        if (message !== undefined) delivered.push(`${message._tag} ${latin1(message.bytes)}`)
      }
    }
    if (received.close !== undefined) {
      const { code, reason } = received.close
      return { delivered, pongs, close, code, problem: reason }
    }
  }
  return { delivered, pongs, close, code: undefined, problem: undefined }
}

interface Receiver extends Writable {
  on(event: "message", listener: (data: Buffer, isBinary: boolean) => void): this
  on(event: "ping" | "pong", listener: (data: Buffer) => void): this
  on(event: "conclude", listener: (code: number, reason: Buffer) => void): this
  on(event: "error", listener: (error: Error) => void): this
  on(event: string, listener: (...args: Array<never>) => void): this
}

/** What ws exports, and its types do not say. */
const { Receiver } = ws as unknown as {
  readonly Receiver: new(options: {
    readonly isServer: boolean
    readonly maxPayload: number
    readonly maxFragments: number
  }) => Receiver
}

/** Where ws keeps the close code of an error. */
const closeCodeOf = (error: object): number => {
  const symbol = Object.getOwnPropertySymbols(error).find((own) => own.description === "status-code")
  return symbol === undefined ? -1 : (error as Record<symbol, number>)[symbol]
}

export const readTheirs = async ({ chunks, maxFragments, maxMessageSize, role }: Case): Promise<Reading> => {
  const receiver = new Receiver({ isServer: role === "server", maxPayload: maxMessageSize, maxFragments })
  const delivered: Array<string> = []
  const pongs: Array<string> = []
  let close: string | undefined
  let error: Error | undefined
  receiver.on("message", (data, isBinary) => void delivered.push(`${isBinary ? "Binary" : "Text"} ${latin1(data)}`))
  receiver.on("ping", (data) => void delivered.push(`Ping ${latin1(data)}`))
  receiver.on("pong", (data) => void pongs.push(latin1(data)))
  receiver.on("conclude", (code, reason) => {
    close = `${code} ${reason.toString()}`
  })
  receiver.on("error", (cause) => {
    error ??= cause
  })
  for (const chunk of chunks) {
    if (error !== undefined || close !== undefined) break
    receiver.write(Buffer.from(chunk))
    // The error comes in the next tick.
    await new Promise((resolve) => process.nextTick(resolve))
  }
  const code = error === undefined ? undefined : closeCodeOf(error)
  return { delivered, pongs, close, code, problem: error?.message }
}

// -----------------------------------------------------------------------------
// Differences
// -----------------------------------------------------------------------------

interface Comparison {
  readonly ours: Reading
  readonly theirs: Reading
  /** What we read when so many zeros follow. */
  readonly oursFollowedBy: (zeros: number) => Reading
}

export interface Difference {
  readonly name: string
  readonly reason: string
  /** What a server sends, in hexadecimal. */
  readonly example: string
  readonly holds: (comparison: Comparison) => boolean
}

const beginsWith = (long: ReadonlyArray<string>, short: ReadonlyArray<string>): boolean =>
  short.every((value, i) => long[i] === value)

const sameFrames = ({ ours, theirs }: Comparison): boolean =>
  ours.close === theirs.close && ours.delivered.length === theirs.delivered.length &&
  ours.pongs.length === theirs.pongs.length && theyWentOn({ ours, theirs })

const theyWentOn = ({ ours, theirs }: Pick<Comparison, "ours" | "theirs">): boolean =>
  beginsWith(theirs.delivered, ours.delivered) && beginsWith(theirs.pongs, ours.pongs)

/** All that the two may differ in. */
export const differences: ReadonlyArray<Difference> = [
  {
    name: "text is checked as it comes",
    example: "01 01 ff",
    reason: "RFC 6455 §8.1 lets an endpoint fail at once; ws checks a text when all of it is here, " +
      "so that it may see control frames, another rule broken, or nothing at all before",
    holds: ({ ours, theirs }) =>
      ours.problem === "InvalidUtf8" && ours.close === undefined && theyWentOn({ ours, theirs }) &&
      theirs.delivered.slice(ours.delivered.length).every((event) => event.startsWith("Ping "))
  },
  {
    name: "lengths in their shortest form",
    example: "81 7e 0001 61",
    reason: "§5.2: \"the minimal number of bytes MUST be used\"; ws takes any form",
    holds: ({ ours, theirs }) => ours.problem === "NonMinimalLength" && theyWentOn({ ours, theirs })
  },
  {
    name: "a length with its top bit set is no length",
    example: "82 7f 8000000000000000",
    reason: "§5.2: \"the most significant bit MUST be 0\", which is 1002; ws says 1009, as of any length over 2^53 - 1",
    holds: (it) =>
      it.ours.problem === "LengthOutOfRange" && it.ours.code === 1002 && it.theirs.code === 1009 && sameFrames(it)
  },
  {
    name: "of two rules broken, the length before the sequence",
    example: "80 7f 0020000000000000",
    reason: "a header is decoded before its place in a message is looked at; ws looks at the sequence first",
    holds: (it) => it.ours.problem === "LengthOutOfRange" && it.theirs.code === 1002 && sameFrames(it)
  },
  {
    name: "of two limits exceeded, the number of fragments before their size",
    example: "02 00 00 00 00 00 00 7e 00c9",
    reason: "both are checked by the header here; ws counts a fragment when all of it is here",
    holds: (it) => it.ours.problem === "TooManyFragments" && it.theirs.code === 1009 && sameFrames(it)
  },
  {
    name: "fragments are counted by their headers",
    example: "02 00 00 00 00 00 00 01",
    reason: "ws counts a fragment when all of it is here, and waits for one too many",
    holds: (it) => it.ours.problem === "TooManyFragments" && it.theirs.code === undefined && sameFrames(it)
  },
  {
    name: "headers and close frames are judged whole",
    example: "80 7f 00",
    reason: "ws judges a length before the mask key has come, a sequence before the length, and a close frame " +
      "of one byte before that has come; here the same follows with the next bytes",
    holds: (it) => it.ours.code === undefined && sameFrames(it) && it.oursFollowedBy(14).code === it.theirs.code
  }
]

/** Reads a case twice. Answers the difference that was found; throws if there is no reason for it. */
export const compare = async (it: Case): Promise<Difference | undefined> => {
  const ours = readOurs(it)
  const theirs = await readTheirs(it)
  const comparison: Comparison = {
    ours,
    theirs,
    oursFollowedBy: (zeros) => readOurs({ ...it, chunks: [...it.chunks, new Uint8Array(zeros)] })
  }
  if (ours.code === theirs.code && sameFrames(comparison)) return undefined
  const difference = differences.find(({ holds }) => holds(comparison))
  if (difference === undefined) assert.deepEqual(ours, theirs, "the two differ, and no reason is known")
  return difference
}

// -----------------------------------------------------------------------------
// Cases
// -----------------------------------------------------------------------------

const sizes = [16 * 1024 * 1024, 200, 1000, 70_000]
const counts = [131_072, 3]

/** An input is a byte for the options, two for the cuts, and what is read. */
const caseOf = (input: Uint8Array): Case => {
  const [options = 0, ...cuts] = input.subarray(0, 3)
  const stream = input.subarray(3)
  return {
    role: options % 2 === 0 ? "server" : "client",
    maxMessageSize: sizes[options >> 1 & 3],
    maxFragments: counts[options >> 3 & 1],
    chunks: cut(stream, cuts[0] === 0 ? new Tape(new Uint8Array()) : new Random(cuts[0] << 8 | cuts[1]))
  }
}

const inputOf = (choices: Choices): Uint8Array => {
  const options = choices.below(16)
  const stream = conversation(choices, options % 2 === 0 ? "client" : "server")
  return Buffer.concat([Uint8Array.of(options, choices.below(256), choices.below(256)), stream])
}

export const differential: Target = {
  name: "differential",
  generate: inputOf,
  run: async (input) => {
    const it = caseOf(input)
    const difference = await compare(it)
    const { close, delivered, problem } = readOurs(it)
    const shape = delivered.slice(0, 6).map((event) => `${event[0]}${Math.min(3, event.length >> 6)}`).join("")
    return `${shape} ${close?.slice(0, 4)} ${problem} ${difference?.name}`
  },
  explain: (input) => {
    const it = caseOf(input)
    return JSON.stringify({
      ...it,
      chunks: it.chunks.map((chunk) => Buffer.from(chunk).toString("hex")),
      ours: readOurs(it)
    })
  }
}
