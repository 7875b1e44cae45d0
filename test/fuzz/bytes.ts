/** The decoder, and a connection, given bytes. */
import { Cause, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { Connection, ConnectionError, Frame } from "effect-ws"
import { strict as assert } from "node:assert"
import type { Target } from "./engine.ts"
import { heldBytes } from "./retainedBytes.ts"
import { type Choices, Random } from "./random.ts"
import { makeNetwork } from "./transport.ts"
import { conversation, cut, messagesOf, parse, type Role } from "./wire.ts"

/** An input is a byte for the options, two for the cuts, and the bytes that come. */
const read = (input: Uint8Array) => {
  const [options = 0, high = 0, low = 0] = input
  const role: Role = options % 2 === 0 ? "server" : "client"
  const stream = input.slice(3)
  return { options: options >> 1, role, stream, chunks: cut(stream, new Random(high << 8 | low)) }
}

const generate = (choices: Choices): Uint8Array => {
  const head = choices.bytes(3)
  return Buffer.concat([head, conversation(choices, head[0] % 2 === 0 ? "client" : "server")])
}

/** Node's pool, a block for small pieces, and views that are at least half of what they view. */
const heldFor = (payload: number): number => 2 * payload + 32 * 1024

export const frameDecoder: Target = {
  name: "frame-decoder",
  generate,
  run: (input) => {
    const { chunks, options, role, stream } = read(input)
    const decoderOptions = { role, reservedBits: options & 7, maxFrameSize: [1000, 16 * 1024 * 1024][options >> 3 & 1] }
    const decoder = Frame.makeDecoder(decoderOptions)
    const frames: Array<Frame.Frame> = []
    let error: string | undefined
    for (const chunk of chunks) {
      const decoded = decoder.decode(chunk)
      frames.push(...decoded.frames)
      if (error !== undefined) {
        assert.equal(decoded.frames.length, 0, "nothing is decoded after an error")
        assert.equal(decoded.error?._tag, error, "an error stays")
      }
      error = decoded.error?._tag
      assert.equal(decoded.needed > 0, error === undefined, "more is needed if and only if nothing is wrong")
      const { partial } = decoded
      assert.ok(partial === undefined || partial.received < partial.length, "a partial frame lacks something")
      assert.ok(heldBytes(decoder) <= heldFor(partial?.received ?? 0), `${heldBytes(decoder)} bytes are held`)
    }
    const whole = Frame.makeDecoder(decoderOptions).decode(stream)
    assert.deepEqual(frames, whole.frames, "cuts make no difference")
    assert.equal(error, whole.error?._tag, "cuts make no difference")
    const kinds = frames.slice(0, 8).map(({ fin, opcode, payload }) =>
      `${opcode}${fin ? "" : "-"}${payload.length < 126 ? "" : payload.length < 65536 ? "s" : "l"}`
    )
    return `${role} ${kinds.join(" ")} ${error}`
  }
}

const inboundHighWaterMark = 1024
const maxMessageSize = 20_000

export const wholeConnection: Target = {
  name: "connection",
  generate,
  run: async (input) => {
    const { chunks, options, role } = read(input)
    const network = makeNetwork((options & 1) === 0 ? 16 * 1024 : 100)
    const scope = Scope.makeUnsafe()
    const connection = await Effect.runPromise(
      Scope.provide(
        Connection.make(network.transport, {
          role,
          inboundHighWaterMark,
          maxMessageSize,
          keepalive: false,
          autoPong: (options & 2) === 0
        }),
        scope
      )
    )
    const ended = Effect.runFork(connection.closed)
    const reads = (options & 4) === 0
    const reader = reads ? Effect.runFork(Stream.runCollect(connection.messages)) : undefined
    let largest = 0
    for (const chunk of chunks) {
      // Held-back data waits in the network, and no reader is here.
      if (!network.listens()) break
      largest = Math.max(largest, chunk.length)
      network.deliver(chunk)
      if ((options & 8) === 0) network.drain(Number.POSITIVE_INFINITY)
      if (chunks.length < 50) await Promise.resolve()
      const { unreadAmount } = await Effect.runPromise(connection.stats)
      // Frames are unread when they are whole: beyond the mark there is one more, and what else its chunk held, of which
      // a frame of 2 bytes is charged 64.
      assert.ok(
        unreadAmount <= inboundHighWaterMark + maxMessageSize + 33 * largest,
        `${unreadAmount} bytes are unread`
      )
    }
    const held = heldBytes(connection)
    assert.ok(
      held <= heldFor(3 * (maxMessageSize + inboundHighWaterMark + largest)) + 64 * 1024,
      `${held} bytes are held`
    )
    network.close()
    const closing = Effect.runFork(Scope.close(scope, Exit.void))
    const [closed] = await Effect.runPromise(Fiber.awaitAll([ended, closing, ...reader === undefined ? [] : [reader]]))
    assert.ok(Exit.isSuccess(closed))
    const end = closed.value as ConnectionError.ConnectionClosed
    assert.ok(end instanceof ConnectionError.ConnectionClosed)
    const exit = reader?.pollUnsafe()
    if (exit !== undefined && Exit.isFailure(exit)) {
      assert.equal(Cause.squash(exit.cause), end, "a stream fails as the connection did")
    }
    const { frames, rest } = parse(Buffer.concat(network.writes), role)
    assert.equal(rest.length, 0, "what is written is whole frames")
    messagesOf(frames)
    const took = exit !== undefined && Exit.isSuccess(exit) ? "+" : "-"
    const written = frames.slice(0, 4).map(({ opcode }) => opcode)
    return `${role} ${end.code} ${end.cause?._tag} ${took} ${written.join(" ")} ${
      Math.min(8, Math.log2(largest + 1) >> 1)
    }`
  }
}
