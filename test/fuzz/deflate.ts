/** A connection with permessage-deflate, given compressed messages and what has become of them. */
import { Cause, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Connection, ConnectionError, Extension, PerMessageDeflate } from "effect-ws"
import { strict as assert } from "node:assert"
import * as Zlib from "node:zlib"
import { ReferenceInflater } from "../support/inflate.ts"
import type { Target } from "./engine.ts"
import { type Choices, Random } from "./random.ts"
import { makeNetwork } from "./transport.ts"
import { cut, encode, messagesOf, parse, parseFrame, type Role } from "./wire.ts"

const maxMessageSize = 20_000
const tail = Buffer.of(0x00, 0x00, 0xff, 0xff)

const texts = [
  "",
  "\0".repeat(100),
  "hello",
  "añ€😀",
  "lorem ipsum ".repeat(100),
  "x".repeat(maxMessageSize),
  "x".repeat(100_000)
]

/** The payload of a compressed message, made in one of the ways of RFC 7692 §7.2.3. */
const compress = (choices: Choices, data: Buffer): Buffer => {
  const strategy = choices.pick([Zlib.constants.Z_DEFAULT_STRATEGY, Zlib.constants.Z_FIXED])
  const options = { level: choices.pick([0, 1, 9]), strategy, windowBits: choices.pick([9, 15]) }
  // With a final block, there is an empty stored one behind it.
  if (choices.oneIn(4)) return Buffer.concat([Zlib.deflateRawSync(data, options), Buffer.of(0)])
  const flushed = Zlib.deflateRawSync(data, { ...options, finishFlush: Zlib.constants.Z_SYNC_FLUSH })
  return flushed.subarray(0, flushed.length - tail.length)
}

/** Bytes as they are, or with a few of them changed, or without their end. */
const damage = (choices: Choices, bytes: Buffer): Buffer => {
  if (!choices.oneIn(4) || bytes.length === 0) return bytes
  const changed = Buffer.from(bytes)
  if (choices.oneIn(3)) return changed.subarray(0, choices.below(changed.length))
  for (let count = choices.between(1, 3); count > 0; count--) {
    changed[choices.below(changed.length)] ^= 1 << choices.below(8)
  }
  return changed
}

/** Payloads in which no block ends where the message does, and that have been taken for messages. */
const cutShort = [
  "",
  "0000ff",
  "f248cdc9",
  "f248cdc9c907000000ffff",
  "000500faff48",
  "00f0ff0f00",
  `02100c06100000000001${"00".repeat(29)}`
].map((hex) => Buffer.from(hex, "hex"))

/** Messages, compressed or not, in fragments or not, with pings among them. */
const compressedConversation = (choices: Choices, role: Role): Uint8Array => {
  const mask = role === "server" ? Uint8Array.of(1, 2, 3, 4) : undefined
  const frames: Array<Uint8Array> = []
  for (let count = choices.between(1, 6); count > 0; count--) {
    const data = choices.oneIn(4) ? Buffer.from(choices.bytes(choices.below(300))) : Buffer.from(choices.pick(texts))
    const compressed = !choices.oneIn(5)
    const whole = compressed ? compress(choices, data) : data
    const payload = compressed && choices.oneIn(12) ? choices.pick(cutShort) : damage(choices, whole)
    const size = choices.oneIn(2) ? payload.length : choices.between(1, Math.max(1, payload.length))
    let opcode = choices.between(1, 2)
    for (let at = 0; opcode !== 0 || at < payload.length; at += Math.max(1, size)) {
      const fin = at + size >= payload.length
      const reserved = opcode !== 0 && compressed ? 4 : 0
      frames.push(encode({ fin, reserved, opcode, payload: payload.subarray(at, at + size), mask }))
      if (choices.oneIn(8)) frames.push(encode({ fin: true, reserved: 0, opcode: 9, payload: Buffer.from("p"), mask }))
      opcode = 0
    }
  }
  return Buffer.concat(frames)
}

/** What Node's own zlib makes of a message, as long as no other is before it; undefined where it refuses. */
const inflated = (payload: Uint8Array): Buffer | undefined => {
  try {
    const finishFlush = Zlib.constants.Z_SYNC_FLUSH
    return Zlib.inflateRawSync(Buffer.concat([payload, tail]), { finishFlush, maxOutputLength: maxMessageSize })
  } catch {
    return undefined
  }
}

export const compressedConnection: Target = {
  name: "deflate",
  generate: (choices) => {
    const head = choices.bytes(3)
    return Buffer.concat([head, compressedConversation(choices, head[0] % 2 === 0 ? "server" : "client")])
  },
  run: async (input) => {
    const [options = 0, high = 0, low = 0] = input
    const role: Role = options % 2 === 0 ? "server" : "client"
    const takeover = (options & 2) === 0
    const stream = input.slice(3)
    const network = makeNetwork(16 * 1024)
    const scope = Scope.makeUnsafe()
    const deflate = PerMessageDeflate.make({
      serverNoContextTakeover: !takeover,
      clientNoContextTakeover: !takeover,
      threshold: 0,
      // All of them are released as soon as they can be.
      memoryLimit: (options & 4) === 0 ? 0 : 128 * 1024 * 1024
    })
    const negotiated = Extension.accept([deflate], Extension.offer([deflate]))
    const make = Connection.make(network.transport, { role, negotiated, maxMessageSize, keepalive: false })
    const connection = await Effect.runPromise(Scope.provide(make, scope))
    const got: Array<Buffer> = []
    const echo = Stream.runForEach(connection.messages, (message) => {
      got.push(Buffer.from(message.bytes))
      return connection.send(message)
    })
    const reader = Effect.runFork(echo)
    for (const chunk of cut(stream, new Random(high << 8 | low))) {
      if (!network.listens()) break
      network.deliver(chunk)
      network.drain(Number.POSITIVE_INFINITY)
      if ((options & 8) === 0) await Promise.resolve()
    }
    network.peerEnds()
    const settled = await Effect.runPromise(Fiber.await(reader))
    network.close()
    await Effect.runPromise(Scope.close(scope, Exit.void))
    const end = await Effect.runPromise(connection.closed)
    if (Exit.isFailure(settled)) {
      const error = Cause.squash(settled.cause)
      assert.ok(error instanceof ConnectionError.ConnectionClosed, Cause.pretty(settled.cause))
    }
    for (const bytes of got) assert.ok(bytes.length <= maxMessageSize, `a message of ${bytes.length} bytes`)
    verifyReceived(stream, role === "server" ? "client" : "server", takeover, got)
    const { connections, deflaters, inflaters, memory, windows } = await Effect.runPromise(deflate.stats)
    assert.deepEqual([connections, deflaters, inflaters, memory, windows], [0, 0, 0, 0, 0], "nothing is kept")
    verifyEchoes(Buffer.concat(network.writes), role, takeover, got)
    return `${role} ${takeover} ${got.length} ${end.code} ${end.cause?._tag}`
  }
}

/** The messages that stand in bytes of any kind, up to the first frame that is invalid or cut. */
const readable = (stream: Uint8Array, writer: Role): Array<{ readonly compressed: boolean; readonly data: Buffer }> => {
  const messages: Array<{ readonly compressed: boolean; readonly data: Buffer }> = []
  let rest = Buffer.from(stream)
  let compressed = false
  let parts: Array<Uint8Array> = []
  try {
    for (let next = parseFrame(rest, writer); next !== undefined; next = parseFrame(rest, writer)) {
      const { fin, opcode, payload, reserved } = next.frame
      rest = rest.subarray(next.size)
      if (opcode >= 8) continue
      if (opcode !== 0) compressed = reserved === 4
      parts.push(payload)
      if (!fin) continue
      messages.push({ compressed, data: Buffer.concat(parts) })
      parts = []
    }
  } catch {
    // What stands behind an invalid frame is not read.
  }
  return messages
}

/** Checks that received messages equal the sent ones, up to the first invalid one. */
const verifyReceived = (stream: Uint8Array, writer: Role, takeover: boolean, got: ReadonlyArray<Buffer>): void => {
  const messages = readable(stream, writer)
  const reference = new ReferenceInflater(takeover, maxMessageSize)
  for (const [i, bytes] of got.entries()) {
    const { compressed, data } = messages[i]
    const plain = compressed ? reference.inflate(data) : data
    assert.ok(plain?.equals(bytes), `message ${i} is received as it was sent`)
  }
}

/** What was written is whole frames, and reads as what was sent, in order. */
const verifyEchoes = (bytes: Buffer, role: Role, takeover: boolean, got: ReadonlyArray<Buffer>): void => {
  const { frames, rest } = parse(bytes, role)
  assert.equal(rest.length, 0, "what is written is whole frames")
  const compressed = frames.filter(({ opcode }) => opcode < 8).map(({ reserved }) => reserved === 4)
  const messages = messagesOf(frames.map((frame) => Object.assign(frame, { reserved: frame.reserved & 3 })))
  assert.ok(messages.length <= got.length)
  // With takeover they are one stream.
  if (takeover) {
    const all = Buffer.concat(messages.flatMap(({ data }, i) => compressed[i] ? [data, tail] : []))
    const plain = Buffer.concat(got.slice(0, messages.length).filter((_, i) => compressed[i]))
    const finishFlush = Zlib.constants.Z_SYNC_FLUSH
    if (all.length > 0) assert.ok(plain.equals(Zlib.inflateRawSync(all, { finishFlush })), "what is sent is read")
  } else {
    for (const [i, { data }] of messages.entries()) {
      const plain = compressed[i] ? inflated(data) : data
      assert.ok(plain !== undefined && plain.equals(got[i]), "what is sent is read")
    }
  }
}
