/**
 * An extension of one's own: each data frame carries a checksum, in one of the
 * algorithms that both ends know. A server and two clients in one program; the
 * second client damages what it sends.
 *
 *   node build/examples/checksum-extension.js
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Stream } from "effect"
import { Connection, Extension, Frame, ProtocolError, WebSocketClient, WebSocketServer } from "effect-ws"
import { createHash } from "node:crypto"
import { crc32 } from "node:zlib"

const algorithms = {
  crc32: (bytes: Uint8Array): Buffer => {
    const sum = Buffer.alloc(4)
    sum.writeUInt32BE(crc32(bytes))
    return sum
  },
  sha256: (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest()
}

type Algorithm = keyof typeof algorithms

const name = "x-checksum"

const { Rsv2 } = Frame.Reserved

/** The work in one connection: a checksum behind each payload, and RSV2 on the first frame of a message. */
const session = (algorithm: Algorithm): Extension.Session => {
  const checksum = algorithms[algorithm]
  return {
    encode: ({ fin, opcode, payload, reserved }) => {
      const marked = opcode === Frame.Opcode.Continuation ? reserved : reserved | Rsv2
      return new Frame.Frame(opcode, Buffer.concat([payload, checksum(payload)]), fin, marked)
    },
    decode: ({ fin, opcode, payload, reserved }, { limit, used }) => {
      const sum = checksum(new Uint8Array(0)).length
      const plain = payload.subarray(0, Math.max(0, payload.length - sum))
      const size = used + plain.length
      if (size > limit) return new ProtocolError.MessageTooLarge({ size, limit })
      return checksum(plain).equals(payload.subarray(plain.length))
        ? new Frame.Frame(opcode, plain, fin, reserved & ~Rsv2)
        : new ProtocolError.InvalidExtensionData({ extension: name, problem: `its ${algorithm} is wrong` })
    }
  }
}

/** The extension, for either end: the algorithms that it knows, the best one first. */
const makeChecksum = (known: ReadonlyArray<Algorithm>): Extension.Extension => {
  const choose = (parameters: Extension.Parameters): Algorithm | undefined => {
    const [first, ...more] = parameters
    if (first?.name !== "algorithm" || more.length > 0) return undefined
    return known.find((algorithm) => algorithm === first.value)
  }
  return {
    name,
    reservedBits: Rsv2,
    offers: known.map((algorithm) => [{ name: "algorithm", value: algorithm }]),
    accept: (offered) => {
      const algorithm = choose(offered)
      return algorithm && { parameters: offered, open: Effect.sync(() => session(algorithm)) }
    },
    confirm: (accepted) => {
      const algorithm = choose(accepted)
      return algorithm === undefined ? "that algorithm was not offered" : Effect.sync(() => session(algorithm))
    }
  }
}

/** The same, but a bit of each frame is lost on the way. */
const makeDamaged = (extension: Extension.Extension): Extension.Extension => ({
  ...extension,
  confirm: (accepted) => {
    const confirmed = extension.confirm(accepted)
    if (typeof confirmed === "string") return confirmed
    return Effect.map(confirmed, (intact) => ({
      ...intact,
      encode: (frame, options) => {
        const encoded = intact.encode(frame, options)
        if (Effect.isEffect(encoded)) return encoded
        encoded.payload.fill(0, 0, 1)
        return encoded
      }
    }))
  }
})

const echo = Effect.gen(function*() {
  const connection = yield* Connection.Connection
  yield* Stream.runForEach(connection.messages, connection.send)
})

const program = Effect.gen(function*() {
  const server = yield* WebSocketServer.make({ port: 0, host: "127.0.0.1" })
  yield* server.serve(echo, { extensions: [makeChecksum(["crc32"])] })

  const client = makeChecksum(["sha256", "crc32"])
  yield* Console.log(`offered: ${Extension.format(Extension.offer([client]))}`)
  const connection = yield* WebSocketClient.connect(server.url, { extensions: [client] })
  yield* Console.log(`agreed on: ${Extension.format(connection.extensions)}`)

  yield* connection.send("hello")
  const message = yield* connection.receive
  const { bytesOut } = yield* connection.stats
  yield* Console.log(`came back: ${new TextDecoder().decode(message.bytes)}, for ${bytesOut} bytes`)

  const damaged = yield* WebSocketClient.connect(server.url, { extensions: [makeDamaged(client)] })
  yield* damaged.send("hello")
  yield* Console.log(`damaged: ${(yield* damaged.closed).message}`)
})

NodeRuntime.runMain(Effect.scoped(program))
