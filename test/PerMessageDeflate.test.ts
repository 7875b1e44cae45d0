import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Scope } from "effect"
import { Extension, Frame, PerMessageDeflate, type ProtocolError } from "effect-ws"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import * as Zlib from "node:zlib"
import * as Ws from "ws"
import {
  decode,
  encode,
  type Ends,
  formatted,
  hex,
  openBoth,
  openClient,
  openServer,
  parameters
} from "./support/deflate.ts"
import { ReferenceInflater } from "./support/inflate.ts"
import { makeRaw, settle } from "./support/memory.ts"
import { among, anyBoolean, anyCuts, anyPayload, cutAt, either, integer } from "./support/properties.ts"

const bytes = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"))
const rsv1 = Frame.Reserved.Rsv1
const compressed = (payload: Uint8Array, fin = true) => new Frame.Frame(Frame.Opcode.Text, payload, fin, rsv1)
const compressedBinary = (payload: Uint8Array, fin: boolean) => new Frame.Frame(Frame.Opcode.Binary, payload, fin, rsv1)
const continued = (payload: Uint8Array, fin: boolean) => new Frame.Frame(Frame.Opcode.Continuation, payload, fin)

/** A tick of a market, a few hundred bytes that resemble the others. */
const tick = (i: number, size = 1): Uint8Array =>
  Uint8Array.from(Buffer.from(JSON.stringify(Array.from({ length: size }, (_, n) => ({
    type: "tick",
    symbol: ["ACME", "INIT", "OMEGA"][(i + n) % 3],
    price: (i * 7919 + n * 104729) % 10007 / 100,
    at: 1700000000000 + i * 977 + n
  })))))

/** Inflates whole messages with Node's public streams alone, each with what came before. */
const reference = (payloads: ReadonlyArray<Uint8Array>, takeover: boolean): Array<string> => {
  const tail = bytes("0000ffff")
  const all = payloads.map((payload) => Buffer.concat([payload, tail]))
  const inflate = (data: Uint8Array) =>
    Zlib.inflateRawSync(data, { finishFlush: Zlib.constants.Z_SYNC_FLUSH, maxOutputLength: 2 ** 28 })
  let before = 0
  return all.map((data, i) => {
    const whole = inflate(takeover ? Buffer.concat(all.slice(0, i + 1)) : data)
    const message = hex(takeover ? whole.subarray(before) : whole)
    before = whole.length
    return message
  })
}

// -----------------------------------------------------------------------------
// Negotiation
// -----------------------------------------------------------------------------

/** An offer, a server's options, and its answer: undefined where it declines. */
const offers: ReadonlyArray<readonly [string, PerMessageDeflate.Options, string | undefined]> = [
  // RFC 7692 §7.1.3 and the section of each parameter.
  ["", {}, ""],
  ["client_max_window_bits", {}, ""],
  ["client_max_window_bits; server_max_window_bits=10", {}, "server_max_window_bits=10"],
  ["server_no_context_takeover", {}, "server_no_context_takeover"],
  ["", { serverNoContextTakeover: true }, "server_no_context_takeover"],
  ["client_no_context_takeover", {}, "client_no_context_takeover"],
  ["", { clientNoContextTakeover: true }, "client_no_context_takeover"],
  [
    "server_no_context_takeover; client_no_context_takeover",
    {},
    "server_no_context_takeover; client_no_context_takeover"
  ],
  ["server_max_window_bits=8", {}, "server_max_window_bits=8"],
  ["server_max_window_bits=15", {}, "server_max_window_bits=15"],
  ["server_max_window_bits=12", { serverMaxWindowBits: 10 }, "server_max_window_bits=10"],
  ["server_max_window_bits=9", { serverMaxWindowBits: 10 }, "server_max_window_bits=9"],
  ["", { serverMaxWindowBits: 10 }, "server_max_window_bits=10"],
  ["", { serverMaxWindowBits: 15 }, ""],
  ["client_max_window_bits=10", {}, "client_max_window_bits=10"],
  ["client_max_window_bits=8", {}, "client_max_window_bits=8"],
  ["client_max_window_bits=15", {}, ""],
  ["client_max_window_bits", { clientMaxWindowBits: 9 }, "client_max_window_bits=9"],
  ["client_max_window_bits=12", { clientMaxWindowBits: 9 }, "client_max_window_bits=9"],
  ["client_max_window_bits=9", { clientMaxWindowBits: 12 }, "client_max_window_bits=9"],
  ["", { clientMaxWindowBits: 12 }, undefined],
  ["server_max_window_bits=12", { clientMaxWindowBits: 12 }, undefined],
  // The offers of Autobahn's cases 12 and 13.
  ["client_max_window_bits; client_no_context_takeover", {}, "client_no_context_takeover"],
  ["server_max_window_bits=9; client_max_window_bits=9", {}, "server_max_window_bits=9; client_max_window_bits=9"],
  ["server_max_window_bits=15; client_max_window_bits=15", {}, "server_max_window_bits=15"],
  [
    "server_no_context_takeover; server_max_window_bits=9; client_max_window_bits",
    {},
    "server_no_context_takeover; server_max_window_bits=9"
  ],
  [
    "server_no_context_takeover; server_max_window_bits=15; client_max_window_bits=9",
    {},
    "server_no_context_takeover; server_max_window_bits=15; client_max_window_bits=9"
  ],
  // Malformed ones.
  ["server_max_window_bits", {}, undefined],
  ["server_max_window_bits=7", {}, undefined],
  ["server_max_window_bits=16", {}, undefined],
  ["server_max_window_bits=1000", {}, undefined],
  ["server_max_window_bits=08", {}, undefined],
  ["server_max_window_bits=9.0", {}, undefined],
  ["server_max_window_bits=+9", {}, undefined],
  ["server_max_window_bits=0x9", {}, undefined],
  ["server_max_window_bits=true", {}, undefined],
  ["client_max_window_bits=7", {}, undefined],
  ["client_max_window_bits=16", {}, undefined],
  ["client_max_window_bits=-10", {}, undefined],
  ["client_max_window_bits=010", {}, undefined],
  ["server_no_context_takeover=1", {}, undefined],
  ["server_no_context_takeover=true", {}, undefined],
  ["client_no_context_takeover=8", {}, undefined],
  ["server_no_context_takeover; server_no_context_takeover", {}, undefined],
  ["client_no_context_takeover; client_no_context_takeover", {}, undefined],
  ["server_max_window_bits=10; server_max_window_bits=10", {}, undefined],
  ["client_max_window_bits; client_max_window_bits=10", {}, undefined],
  ["x-unknown", {}, undefined],
  ["Server_No_Context_Takeover", {}, undefined],
  ["client_max_window_bits; x-unknown=1", {}, undefined],
  ["__proto__", {}, undefined],
  ["constructor=toString", {}, undefined],
  ["client_max_window_bits=constructor", {}, undefined],
  ["server_max_window_bits=__proto__", {}, undefined]
]

describe("an offer (RFC 7692 §7.1; CVE-2026-2229)", () => {
  for (const [offer, options, answer] of offers) {
    const suffix = Object.keys(options).length === 0 ? "" : ` with ${JSON.stringify(options)}`
    it(`"${offer}"${suffix} is ${answer === undefined ? "declined" : `answered "${answer}"`}`, () => {
      const accepted = PerMessageDeflate.make(options).accept(parameters(offer))
      assert.strictEqual(accepted && formatted(accepted.parameters), answer)
    })
  }

  it("is passed over for the first that can be accepted", () => {
    const offered = Extension.parse(
      "permessage-deflate; server_max_window_bits=99, permessage-deflate; nonsense, " +
        "permessage-deflate; server_max_window_bits=10, permessage-deflate"
    )!
    const negotiated = Extension.accept([PerMessageDeflate.make()], offered)
    assert.strictEqual(
      Extension.format(negotiated.map(({ entry }) => entry)),
      "permessage-deflate; server_max_window_bits=10"
    )
  })

  for (
    const [options, header] of [
      [{}, "client_max_window_bits"],
      [{ serverNoContextTakeover: true }, "server_no_context_takeover; client_max_window_bits"],
      [{ clientNoContextTakeover: true }, "client_no_context_takeover; client_max_window_bits"],
      [{ serverMaxWindowBits: 9, clientMaxWindowBits: 10 }, "server_max_window_bits=9; client_max_window_bits=10"]
    ] as ReadonlyArray<readonly [PerMessageDeflate.Options, string]>
  ) {
    it(`is "${header}" with ${JSON.stringify(options)}`, () => {
      assert.deepStrictEqual(PerMessageDeflate.make(options).offers.map(formatted), [header])
    })
  }
})

/** A server's answer, a client's options, and what is wrong with it: undefined where nothing is. */
const answers: ReadonlyArray<readonly [string, PerMessageDeflate.Options, string | undefined]> = [
  ["", {}, undefined],
  ["server_no_context_takeover", {}, undefined],
  ["client_no_context_takeover", {}, undefined],
  ["server_max_window_bits=8", {}, undefined],
  ["server_max_window_bits=15", {}, undefined],
  ["client_max_window_bits=8", {}, undefined],
  ["client_max_window_bits=15", {}, undefined],
  ["client_max_window_bits=9", { clientMaxWindowBits: 10 }, undefined],
  ["client_max_window_bits=10", { clientMaxWindowBits: 10 }, undefined],
  ["", { clientMaxWindowBits: 10 }, undefined],
  ["server_max_window_bits=9", { serverMaxWindowBits: 10 }, undefined],
  ["client_max_window_bits=11", { clientMaxWindowBits: 10 }, undefined],
  [
    "server_max_window_bits=11",
    { serverMaxWindowBits: 10 },
    "server_max_window_bits: expected at most 10, got 11"
  ],
  ["", { serverMaxWindowBits: 10 }, "server_max_window_bits: expected at most 10, got 15"],
  [
    "",
    { serverNoContextTakeover: true },
    "server_no_context_takeover: expected in the response because the client offered it, got a response without it"
  ],
  ["client_max_window_bits", {}, "client_max_window_bits: expected an integer from 8 to 15, got no value"],
  ["server_max_window_bits", {}, "server_max_window_bits: expected an integer from 8 to 15, got no value"],
  ["server_max_window_bits=7", {}, "server_max_window_bits: expected an integer from 8 to 15, got 7"],
  ["client_max_window_bits=1000", {}, "client_max_window_bits: expected an integer from 8 to 15, got 1000"],
  ["server_no_context_takeover=1", {}, "server_no_context_takeover: expected no value, got 1"],
  [
    "client_no_context_takeover; client_no_context_takeover",
    {},
    "client_no_context_takeover: expected at most one, got several"
  ],
  ["__proto__", {}, "expected a parameter that RFC 7692 defines, got __proto__"],
  ["constructor=1", {}, "expected a parameter that RFC 7692 defines, got constructor"]
]

describe("an answer (RFC 7692 §7.1; CVE-2026-2229)", () => {
  for (const [answer, options, problem] of answers) {
    const suffix = Object.keys(options).length === 0 ? "" : ` to ${JSON.stringify(options)}`
    it(`"${answer}"${suffix} is ${problem === undefined ? "confirmed" : `refused: ${problem}`}`, () => {
      const confirmed = PerMessageDeflate.make(options).confirm(parameters(answer))
      assert.strictEqual(typeof confirmed === "string" ? confirmed : undefined, problem)
    })
  }
})

// -----------------------------------------------------------------------------
// Messages
// -----------------------------------------------------------------------------

describe("the examples of RFC 7692 §7.2.3", () => {
  const decodes = (name: string, frames: ReadonlyArray<Frame.Frame>, expected: ReadonlyArray<string>) =>
    it.effect(name, () =>
      Effect.gen(function*() {
        for (const open of [openServer, openClient]) {
          const session = yield* open(PerMessageDeflate.make())
          const decoded: Array<string> = []
          for (const frame of frames) {
            const result = yield* decode(session, frame)
            assert.strictEqual(result.reserved, 0)
            assert.strictEqual(result.fin, frame.fin)
            assert.strictEqual(result.opcode, frame.opcode)
            decoded.push(Buffer.from(result.payload).toString())
          }
          assert.deepStrictEqual(decoded, expected)
        }
      }))

  decodes("§7.2.3.1: a message in one block", [compressed(bytes("f2 48 cd c9 c9 07 00"))], ["Hello"])
  decodes("§7.2.3.1: in two fragments", [
    compressed(bytes("f2 48 cd"), false),
    continued(bytes("c9 c9 07 00"), true)
  ], ["He", "llo"])
  decodes("§7.2.3.2: two messages that share a window", [
    compressed(bytes("f2 48 cd c9 c9 07 00")),
    compressed(bytes("f2 00 11 00 00"))
  ], ["Hello", "Hello"])
  decodes("§7.2.3.3: a block without compression", [compressed(bytes("00 05 00 fa ff 48 65 6c 6c 6f 00"))], ["Hello"])
  decodes("§7.2.3.4: a final block", [compressed(bytes("f3 48 cd c9 c9 07 00 00"))], ["Hello"])
  decodes("§7.2.3.5: two blocks", [compressed(bytes("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"))], ["Hello"])
  decodes("§7.2.3.6: an empty message", [compressed(bytes("00")), compressed(bytes("f2 48 cd c9 c9 07 00"))], [
    "",
    "Hello"
  ])
  decodes("§7.2.3.4: final blocks without what completes the last, several, and further messages", [
    compressed(bytes("f3 48 cd c9 c9 07 00")),
    compressed(bytes("f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00")),
    compressed(bytes("f3 48 cd c9 c9 07 00"), false),
    continued(bytes("f2 48 cd c9 c9 07 00"), true),
    compressed(bytes("f2 48 cd c9 c9 07 00")),
    compressed(bytes("f2 00 11 00 00"))
  ], ["Hello", "HelloHello", "Hello", "Hello", "Hello", "Hello"])

  it.effect("are what is sent", () =>
    Effect.gen(function*() {
      const options = { threshold: 0, level: 6 } as const
      const session = yield* openServer(PerMessageDeflate.make(options))
      for (const expected of ["f248cdc9c90700", "f200110000"]) {
        const frame = yield* encode(session, Frame.text("Hello"))
        assert.strictEqual(hex(frame.payload), expected)
        assert.strictEqual(frame.reserved, rsv1)
      }
      const alone = yield* openServer(PerMessageDeflate.make({ ...options, threshold: 0, memoryLevel: 8 }))
      const first = yield* encode(alone, Frame.text("Hello", { fin: false }))
      const last = yield* encode(alone, continued(new Uint8Array(0), true))
      // The flush of a fragment stays; only "the tail end" of the message loses four octets (§7.2.1).
      assert.deepStrictEqual([hex(first.payload), first.reserved], ["f248cdc9c907000000ffff", rsv1])
      assert.deepStrictEqual([hex(last.payload), last.reserved, last.fin], ["00", 0, true])
    }))
})

interface Sent {
  readonly payload: Uint8Array
  readonly cuts: ReadonlyArray<number>
  readonly compress: boolean
}

const anyJson = Arbitrary.map(Arbitrary.all([integer(0, 1000), integer(1, 40)]), ([i, size]) => tick(i, size))
const anyNoise = Arbitrary.map(integer(0, 3000), (size) => Uint8Array.from(randomBytes(size)))
const anySent: Arbitrary.Arbitrary<Sent> = Arbitrary.map(
  Arbitrary.all([
    either(anyPayload, anyJson, anyNoise),
    either(Arbitrary.map(integer(0, 0), () => []), anyCuts),
    among(true, true, true, false)
  ]),
  ([payload, cuts, compress]) => ({ payload, cuts, compress })
)
const anyBits = among<PerMessageDeflate.WindowBits>(8, 9, 10, 11, 12, 13, 14, 15)
const anyOptions: Arbitrary.Arbitrary<PerMessageDeflate.Options> = Arbitrary.map(
  Arbitrary.all([
    anyBoolean,
    anyBoolean,
    anyBits,
    anyBits,
    among(0, 1, 2, 3, 6, 9),
    among(1, 5, 8, 9),
    among(0, 100, undefined)
  ]),
  (
    [
      serverNoContextTakeover,
      clientNoContextTakeover,
      serverMaxWindowBits,
      clientMaxWindowBits,
      level,
      memoryLevel,
      threshold
    ]
  ) => ({
    serverNoContextTakeover,
    clientNoContextTakeover,
    serverMaxWindowBits,
    clientMaxWindowBits,
    level,
    memoryLevel,
    threshold
  } as PerMessageDeflate.Options)
)

/** The frames of a message, as they are given to be sent. */
const framesOf = ({ cuts, payload }: Sent): Array<Frame.Frame> => {
  const parts = cutAt(payload, cuts)
  return parts.map((part, i) =>
    new Frame.Frame(i === 0 ? Frame.Opcode.Binary : Frame.Opcode.Continuation, part, i === parts.length - 1)
  )
}

/** Sends a message from one end to the other; answers the encoded frames. */
const transfer = (from: Extension.Session, to: Extension.Session, message: Sent) =>
  Effect.gen(function*() {
    let decoding = false
    const received: Array<Uint8Array> = []
    const encoded: Array<Frame.Frame> = []
    for (const frame of framesOf(message)) {
      const out = yield* encode(from, frame, { compress: message.compress })
      encoded.push(out)
      assert.deepStrictEqual([out.opcode, out.fin], [frame.opcode, frame.fin])
      if (out.opcode === Frame.Opcode.Continuation) assert.strictEqual(out.reserved, 0)
      else decoding = out.reserved === rsv1
      received.push((decoding ? yield* decode(to, out) : out).payload)
    }
    if (!message.compress) assert.isFalse(decoding)
    assert.strictEqual(hex(Buffer.concat(received)), hex(message.payload))
    return encoded
  })

describe("messages", () => {
  it.effect.prop(
    "come out as they went in, whatever was negotiated on and however they are fragmented",
    { client: anyOptions, server: anyOptions, messages: Arbitrary.array(Arbitrary.all([anySent, anyBoolean])) },
    ({ client, messages, server }) =>
      Effect.gen(function*() {
        const { serverMaxWindowBits: _, serverNoContextTakeover: __, ...askable } = client
        const ends: Ends = yield* openBoth(askable, server)
        for (const [message, up] of messages) {
          yield* up ? transfer(ends.client, ends.server, message) : transfer(ends.server, ends.client, message)
        }
      }).pipe(Effect.scoped)
  )

  it.effect.prop(
    "can be read with zlib alone",
    { options: anyOptions, messages: Arbitrary.array(anySent) },
    ({ messages, options }) =>
      Effect.gen(function*() {
        const server = yield* openServer(PerMessageDeflate.make(options), "client_max_window_bits")
        const sent: Array<Uint8Array> = []
        const expected: Array<string> = []
        for (const message of messages) {
          const frames: Array<Frame.Frame> = []
          for (const frame of framesOf(message)) frames.push(yield* encode(server, frame))
          if (frames[0].reserved === 0) continue
          sent.push(Buffer.concat(frames.map(({ payload }) => payload)))
          expected.push(hex(message.payload))
        }
        assert.deepStrictEqual(reference(sent, options.serverNoContextTakeover !== true), expected)
      }).pipe(Effect.scoped)
  )

  it.effect("refer no further back than a client said of itself, whatever window the server allows it (§7.1.2.2)", () =>
    Effect.gen(function*() {
      const once = randomBytes(1000)
      for (const allowed of ["", "client_max_window_bits=15"]) {
        const client = yield* openClient(PerMessageDeflate.make({ clientMaxWindowBits: 9 }), allowed)
        const { payload } = yield* encode(client, Frame.binary(Buffer.concat([once, once])))
        assert.isAbove(payload.length, 1900)
      }
    }))

  it.effect("below the threshold go as they are, and do not disturb the context", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth({ threshold: 100 })
      const sizes: Array<number> = []
      for (const size of [0, 1, 99, 100, 101, 99, 100]) {
        const payload = tick(1, 3).subarray(0, size)
        const [frame] = yield* transfer(client, server, { payload, cuts: [], compress: true })
        assert.strictEqual(frame.reserved, size < 100 ? 0 : rsv1)
        sizes.push(frame.payload.length)
      }
      assert.isBelow(sizes[6], sizes[3] / 2)
    }))

  it.effect("that are not to be compressed are not, nor are their fragments", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth()
      for (const compress of [true, false, true, false]) {
        const frames = yield* transfer(client, server, { payload: tick(1, 20), cuts: [100, 300], compress })
        assert.deepStrictEqual(frames.map(({ reserved }) => reserved), [compress ? rsv1 : 0, 0, 0])
      }
    }))

  it.effect("that do not get shorter go as they are, where the next cannot refer to them", () =>
    Effect.gen(function*() {
      const payload = Uint8Array.from(randomBytes(2000))
      for (const clientNoContextTakeover of [true, false]) {
        const { client, server } = yield* openBoth({ clientNoContextTakeover })
        const [frame] = yield* transfer(client, server, { payload, cuts: [], compress: true })
        assert.strictEqual(frame.reserved, clientNoContextTakeover ? 0 : rsv1)
        yield* transfer(client, server, { payload: tick(1, 20), cuts: [], compress: true })
      }
    }))

  it.effect("with nothing in some fragments are whole", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth({ threshold: 0 })
      const payload = tick(1, 10)
      const end = payload.length
      for (const cuts of [[0], [0, 0], [end], [end, end], [0, 5, 5, end]]) {
        yield* transfer(client, server, { payload, cuts, compress: true })
      }
      const frames = yield* transfer(client, server, { payload: new Uint8Array(0), cuts: [0], compress: true })
      assert.deepStrictEqual(frames.map((frame) => hex(frame.payload)), ["", "00"])
    }))

  for (const size of [65_530, 65_536, 65_537, 1_000_000, 5_000_000]) {
    it.effect(`of ${size} bytes, of all kinds, come out as they went in`, () =>
      Effect.gen(function*() {
        const { client, server } = yield* openBoth()
        const text = Uint8Array.from(
          Buffer.concat(Array.from({ length: Math.ceil(size / 700) }, (_, i) => tick(i, 12)))
        )
        for (const payload of [text.slice(0, size), new Uint8Array(size), Uint8Array.from(randomBytes(size))]) {
          for (const cuts of [[], [0, 70_000]]) yield* transfer(client, server, { payload, cuts, compress: true })
        }
        yield* transfer(client, server, { payload: tick(1, 9), cuts: [], compress: true })
      }))
  }

  it.effect("that are large leave the event loop its turns", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth()
      const payload = new Uint8Array(2 ** 22)
      let turns = 0
      let over = false
      const count = () => {
        turns++
        if (!over) setImmediate(count)
      }
      setImmediate(count)
      const frame = yield* encode(client, Frame.binary(payload))
      const whileEncoding = turns
      const { payload: decoded } = yield* decode(server, frame)
      over = true
      assert.isAtLeast(whileEncoding, 30)
      assert.isAtLeast(turns - whileEncoding, 20)
      assert.strictEqual(Buffer.compare(decoded, payload), 0)
    }))

  it.effect("of 1 KiB take no Effect", () =>
    Effect.gen(function*() {
      const { client, server } = yield* openBoth()
      const frame = client.encode(Frame.binary(tick(1, 10)), {})
      assert.instanceOf(frame, Frame.Frame)
      assert.instanceOf(server.decode(frame as Frame.Frame, { used: 0, limit: 10_000 }), Frame.Frame)
    }))
})

// -----------------------------------------------------------------------------
// ws
// -----------------------------------------------------------------------------

/** The permessage-deflate of ws, which it exports without declaring it. */
interface WsDeflate {
  readonly accept: (offers: ReadonlyArray<Record<string, ReadonlyArray<string | true>>>) => object
  readonly compress: (data: Uint8Array, fin: boolean, callback: (error: Error | null, data: Buffer) => void) => void
  readonly decompress: (data: Uint8Array, fin: boolean, callback: (error: Error | null, data: Buffer) => void) => void
  readonly cleanup: () => void
}
const { PerMessageDeflate: WsPerMessageDeflate } = Ws as unknown as {
  readonly PerMessageDeflate: new(options: { readonly isServer: boolean }) => WsDeflate
}

const wsParameters = (list: Extension.Parameters) =>
  Object.fromEntries(list.map(({ name, value }) => [name, [value ?? true as const]]))

const throughWs = (deflate: WsDeflate, direction: "compress" | "decompress", data: Uint8Array, fin: boolean) =>
  Effect.callback<Uint8Array>((resume) =>
    deflate[direction](data, fin, (error, result) => {
      resume(error === null || error === undefined ? Effect.succeed(result) : Effect.die(error))
    })
  )

describe("with ws at the other end", () => {
  for (const isServer of [true, false]) {
    it.effect.prop(
      `as the ${isServer ? "server" : "client"}, messages come out as they went in`,
      { options: anyOptions, messages: Arbitrary.array(anySent, { maxLength: 5 }) },
      ({ messages, options }) =>
        Effect.gen(function*() {
          const ours = PerMessageDeflate.make({ ...options, threshold: 0 })
          const theirs = yield* Effect.acquireRelease(
            Effect.sync(() => new WsPerMessageDeflate({ isServer })),
            (deflate) => Effect.sync(() => deflate.cleanup())
          )
          let session: Extension.Session
          if (isServer) {
            const answer = theirs.accept(ours.offers.map(wsParameters)) as Record<string, unknown>
            const text = Object.entries(answer).map(([name, value]) => value === true ? name : `${name}=${value}`)
            session = yield* openClient(ours, text.join(";"))
          } else {
            const accepted = ours.accept(parameters("client_max_window_bits"))!
            theirs.accept([wsParameters(accepted.parameters)])
            session = yield* accepted.open
          }
          for (const { cuts, payload } of messages) {
            const received: Array<Uint8Array> = []
            const frames = framesOf({ payload, cuts, compress: true })
            let plain = false
            for (const frame of frames) {
              const out = yield* encode(session, frame)
              if (out.opcode !== Frame.Opcode.Continuation) plain = out.reserved === 0
              received.push(plain ? out.payload : yield* throughWs(theirs, "decompress", out.payload, out.fin))
            }
            assert.strictEqual(hex(Buffer.concat(received)), hex(payload))
            const back: Array<Uint8Array> = []
            for (const [i, { fin, opcode, payload: part }] of frames.entries()) {
              const data = yield* throughWs(theirs, "compress", part, fin)
              const { payload: inflated } = yield* decode(
                session,
                new Frame.Frame(opcode, data, fin, i === 0 ? rsv1 : 0)
              )
              back.push(inflated)
            }
            assert.strictEqual(hex(Buffer.concat(back)), hex(payload))
          }
        }).pipe(Effect.scoped)
    )
  }
})

// -----------------------------------------------------------------------------
// What a peer can do wrong
// -----------------------------------------------------------------------------

/** Zeros, a MiB in a KiB, that can be repeated: each ends with a flush and refers to nothing before it. */
const zeros = (() => {
  const data = Zlib.deflateRawSync(new Uint8Array(2 ** 20), { level: 9, finishFlush: Zlib.constants.Z_FULL_FLUSH })
  return (times: number): Uint8Array => Uint8Array.from(Buffer.alloc(data.length * times, data))
})()

const failure = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<E, A> => Effect.flip(effect)

describe("a bomb (CVE-2026-1526, CVE-2018-1000518, CVE-2026-39804)", () => {
  it.effect("of 2 GiB in 2 MiB ends at the limit", () =>
    Effect.gen(function*() {
      const limit = 4 * 2 ** 20
      const session = yield* openServer(PerMessageDeflate.make())
      const error = yield* failure(decode(session, compressed(zeros(2048)), { used: 0, limit }))
      assert.strictEqual(error._tag, "MessageTooLarge")
      const { limit: most, size } = error as ProtocolError.MessageTooLarge
      assert.deepStrictEqual([size, most], [limit + 1, limit])
    }))

  it("of 2 GiB takes no more memory than the limit", () => {
    // In a process of its own, whose memory nobody else changes.
    const program = `
      import { Effect } from "effect"
      import { Frame, PerMessageDeflate } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)}
      import { constants, deflateRawSync } from "node:zlib"
      const piece = deflateRawSync(new Uint8Array(2 ** 20), { level: 9, finishFlush: constants.Z_FULL_FLUSH })
      const bomb = new Frame.Frame(2, Buffer.alloc(2048 * piece.length, piece), true, 4)
      const kibibytes = () => process.resourceUsage().maxRSS
      const before = kibibytes()
      const error = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const session = yield* PerMessageDeflate.make().accept([]).open
        return yield* Effect.flip(session.decode(bomb, { used: 0, limit: 4 * 2 ** 20 }))
      })))
      console.log(error._tag, kibibytes() - before)
    `
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", program], { timeout: 60_000 })
    const [tag, kibibytes] = output.toString().trim().split(" ")
    assert.strictEqual(tag, "MessageTooLarge")
    assert.isBelow(Number(kibibytes), 48 * 1024)
  }, 60_000)

  for (
    const [limit, used] of [[0, 0], [1, 0], [1, 1], [1000, 990], [65_535, 0], [65_536, 0], [65_537, 0], [
      200_000,
      100_000
    ]]
  ) {
    it.effect(`of a byte too many, with ${used} of ${limit} used, is noticed; one that just fits is not`, () =>
      Effect.gen(function*() {
        const room = limit - used
        for (const size of [room, room + 1]) {
          const { client, server } = yield* openBoth({ threshold: 0 })
          const frame = size === 0 ? compressed(bytes("00")) : yield* encode(client, Frame.binary(new Uint8Array(size)))
          const result = yield* Effect.result(decode(server, frame, { used, limit }))
          if (size === room) assert.strictEqual(result._tag, "Success")
          else {
            assert.strictEqual(result._tag, "Failure")
            const error = (result as { readonly failure: Extension.DecodeError })
              .failure as ProtocolError.MessageTooLarge
            assert.deepStrictEqual([error._tag, error.size, error.limit], ["MessageTooLarge", limit + 1, limit])
          }
        }
      }))
  }

  it.effect("over many fragments ends at the limit", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make())
      let used = 0
      const limit = 5_000_000
      const error = yield* failure(
        Effect.gen(function*() {
          for (let i = 0;; i++) {
            const frame = i === 0 ? compressed(zeros(1), false) : continued(zeros(1), false)
            used += (yield* decode(session, frame, { used, limit })).payload.length
          }
        })
      )
      assert.strictEqual(error._tag, "MessageTooLarge")
      assert.strictEqual(used, 4 * 2 ** 20)
    }))

  it.effect("that is malformed after the limit ends once, with an error (CVE-2026-85024)", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make())
      const bomb = Uint8Array.from(Buffer.concat([zeros(4), bytes("07 ff ff ff")]))
      const error = yield* failure(decode(session, compressed(bomb), { used: 0, limit: 2 ** 20 }))
      assert.strictEqual(error._tag, "MessageTooLarge")
      const again = yield* failure(decode(session, compressed(bytes("f2 48 cd c9 c9 07 00"))))
      assert.strictEqual(again._tag, "MessageTooLarge")
      yield* settle
    }))

  it.effect("of final blocks, each its own stream, or of empty blocks, leaves the event loop its turns", () =>
    Effect.gen(function*() {
      for (
        const [block, final] of [["03 00", true], ["00 00 00 ff ff", false], ["f3 48 cd c9 c9 07 00", true]] as const
      ) {
        const session = yield* openServer(PerMessageDeflate.make())
        const blocks = Buffer.alloc(300_000 - 300_000 % bytes(block).length, bytes(block))
        const payload = Uint8Array.from(Buffer.concat([blocks, bytes("00")]))
        let turns = 0
        let over = false
        const count = () => {
          turns++
          if (!over) setImmediate(count)
        }
        setImmediate(count)
        yield* decode(session, compressed(payload))
        over = true
        // A turn for each 64 KiB, and for each 64 final blocks.
        assert.isAtLeast(turns, final ? payload.length / bytes(block).length / 64 - 1 : 4)
      }
    }))
})

describe("data that is not DEFLATE (RFC 7692 §7.2.2)", () => {
  for (
    const [name, data, problem] of [
      ["a reserved block type", "07", "invalid block type"],
      ["a stored block with a wrong length", "00 05 00 00 00", "invalid stored block lengths"],
      ["a reference to before the beginning", "f2 00 11 00 00", "invalid distance too far back"],
      ["too many codes", "04 ff ff ff ff ff", undefined]
    ] as const
  ) {
    it.effect(`${name} fails, and all after it`, () =>
      Effect.gen(function*() {
        const extension = PerMessageDeflate.make()
        const session = yield* openServer(extension)
        for (let i = 0; i < 2; i++) {
          const error = yield* failure(decode(session, compressed(bytes(i === 0 ? data : "f2 48 cd c9 c9 07 00"))))
          assert.strictEqual(error._tag, "InvalidExtensionData")
          if (problem !== undefined) assert.include(error.message, problem)
        }
        yield* settle
        const { inflaters } = yield* extension.stats
        assert.strictEqual(inflaters, 0)
        // The next connection has nothing of it.
        const next = yield* openServer(extension)
        const { payload } = yield* decode(next, compressed(bytes("f2 48 cd c9 c9 07 00")))
        assert.strictEqual(Buffer.from(payload).toString(), "Hello")
      }))
  }

  it.effect("fails in the middle of a large message", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make())
      const data = Uint8Array.from(Buffer.concat([zeros(4), bytes("07")]))
      const error = yield* failure(decode(session, compressed(data)))
      assert.strictEqual(error._tag, "InvalidExtensionData")
      yield* settle
    }))

  it.effect("is a reference into the last message, where that was excluded", () =>
    Effect.gen(function*() {
      const session = yield* openServer(PerMessageDeflate.make(), "client_no_context_takeover")
      yield* decode(session, compressed(bytes("f2 48 cd c9 c9 07 00")))
      const error = yield* failure(decode(session, compressed(bytes("f2 00 11 00 00"))))
      assert.strictEqual(error._tag, "InvalidExtensionData")
    }))

  it.effect.prop(
    "of any kind fails or does not, and never throws",
    { payloads: Arbitrary.array(anyPayload), fins: Arbitrary.array(anyBoolean) },
    ({ fins, payloads }) =>
      Effect.gen(function*() {
        const session = yield* openServer(PerMessageDeflate.make())
        for (const [i, payload] of payloads.entries()) {
          yield* Effect.ignore(decode(session, compressed(payload, fins[i] ?? true), { used: 0, limit: 100_000 }))
        }
        yield* settle
      }).pipe(Effect.scoped)
  )
})

// -----------------------------------------------------------------------------
// What is kept
// -----------------------------------------------------------------------------

const statsOf = (extension: PerMessageDeflate.PerMessageDeflate) =>
  Effect.map(extension.stats, ({ deflaters, inflaters, windows }) => ({ deflaters, inflaters, windows }))

/** What a compressor takes with default options: 128 KiB of windows, 64 of hashes, and the rest. */
const deflaterSize = (128 + 64 + 8 + 8) * 1024

const message = (i: number, size = 10): Sent => ({ payload: tick(i, size), cuts: [], compress: true })

describe("a message of exactly maxMessageSize", () => {
  const maxMessageSize = 100_000
  const noise = Uint8Array.from(randomBytes(maxMessageSize + 1))
  /** Stored blocks of `size` bytes each (RFC 1951 §3.2.4). */
  const stored = (data: Uint8Array, size: number) => {
    const blocks: Array<Uint8Array> = []
    for (let at = 0; at < data.length; at += size) {
      const block = data.subarray(at, at + size)
      const header = Buffer.alloc(5)
      header.writeUInt16LE(block.length, 1)
      header.writeUInt16LE(0xffff ^ block.length, 3)
      blocks.push(header, block)
    }
    return Uint8Array.from(Buffer.concat([...blocks, bytes("00")]))
  }
  const ways: ReadonlyArray<readonly [string, (data: Uint8Array) => Uint8Array]> = [
    ["by zlib", (data) => Zlib.deflateRawSync(data, { finishFlush: Zlib.constants.Z_SYNC_FLUSH }).subarray(0, -4)],
    ["in stored blocks of 64 KiB", (data) => stored(data, 65_535)],
    ["in stored blocks of 5 bytes", (data) => stored(data, 5)]
  ]
  for (const [way, encodeWith] of ways) {
    it.effect(`that does not compress is received, encoded ${way}; a byte more is not`, () =>
      Effect.gen(function*() {
        for (const frames of [1, 7]) {
          for (const size of [maxMessageSize, maxMessageSize + 1]) {
            const deflate = PerMessageDeflate.make()
            const negotiated = Extension.accept([deflate], Extension.offer([deflate]))
            const { connection, peer } = yield* makeRaw({ role: "server", negotiated, maxMessageSize })
            const payload = encodeWith(noise.slice(0, size))
            assert.isAbove(payload.length, size)
            const length = Math.ceil(payload.length / frames)
            for (let at = 0; at < payload.length; at += length) {
              const part = payload.slice(at, at + length)
              const fin = at + length >= payload.length
              peer.send(at === 0 ? compressedBinary(part, fin) : continued(part, fin))
            }
            const result = yield* Effect.result(connection.receive)
            if (size === maxMessageSize) {
              assert.strictEqual(result._tag, "Success")
              assert.isTrue(result._tag === "Success" && Buffer.from(noise.slice(0, size)).equals(result.success.bytes))
            } else {
              assert.strictEqual(result._tag === "Failure" && result.failure.cause?._tag, "MessageTooLarge")
            }
          }
        }
      }))
  }
})

describe("a message that ends within a block (RFC 7692 §7.2.2)", () => {
  const deflated = (data: Uint8Array, options: Zlib.ZlibOptions = {}) => {
    const flushed = Zlib.deflateRawSync(data, { ...options, finishFlush: Zlib.constants.Z_SYNC_FLUSH })
    return flushed.subarray(0, -4)
  }
  const text = tick(1, 12)
  const long = Uint8Array.from(randomBytes(70_000), (byte) => byte & 0x3f)
  const whole: ReadonlyArray<readonly [string, Uint8Array]> = [
    ["of nothing", bytes("00")],
    ["in fixed codes", deflated(text, { strategy: Zlib.constants.Z_FIXED })],
    ["in dynamic codes", deflated(text, { level: 9 })],
    ["in a stored block", deflated(text, { level: 0 })],
    ["in a stored block of what a tail consists of", deflated(Buffer.alloc(64, bytes("0000ffff")), { level: 0 })],
    ["in many small blocks", Buffer.concat([bytes("02 00 00 00 ff ff"), deflated(text, { memLevel: 1 })])],
    ["in several flushes", Buffer.concat([deflated(text), bytes("00 00 ff ff"), deflated(text)])],
    ["with a final block", Buffer.concat([Zlib.deflateRawSync(text), bytes("00")])],
    ["in two streams", Buffer.concat([Zlib.deflateRawSync(text), deflated(text)])]
  ]
  /** Messages that refer to nothing before them. */
  const following = [
    bytes("00"),
    bytes("f2 48 cd c9 c9 07 00"),
    deflated(new Uint8Array(100), { level: 0 }),
    deflated(text)
  ]

  /** The frames of a message that is cut into fragments of `size` bytes, the last of which may be empty. */
  const fragmentsOf = (payload: Uint8Array, size: number): Array<Frame.Frame> => {
    const frames = [compressed(payload.slice(0, size), size > payload.length)]
    for (let at = size; at <= payload.length; at += size) {
      frames.push(continued(payload.slice(at, at + size), at + size > payload.length))
    }
    return frames
  }

  /** Decodes messages up to the first failure; checks each that comes out. Answers how many that are. */
  const deliver = (payloads: ReadonlyArray<Uint8Array>, takeover: boolean, size: number) =>
    Effect.gen(function*() {
      const session = yield* openServer(
        PerMessageDeflate.make({ releaseAfter: "1 second", memoryLimit: size % 2 === 0 ? 0 : 2 ** 27 }),
        takeover ? "" : "client_no_context_takeover"
      )
      const inflater = new ReferenceInflater(takeover)
      for (const [i, payload] of payloads.entries()) {
        const parts: Array<Uint8Array> = []
        for (const frame of fragmentsOf(payload, size)) {
          const result = yield* Effect.result(decode(session, frame))
          if (result._tag === "Failure") {
            assert.strictEqual(result.failure._tag, "InvalidExtensionData")
            return i
          }
          parts.push(result.success.payload)
        }
        assert.strictEqual(hex(Buffer.concat(parts)), hex(inflater.inflate(payload)!), `message ${i}`)
      }
      return payloads.length
    }).pipe(Effect.scoped)

  for (const [name, payload] of whole) {
    it.effect(`${name} fails, wherever it is cut; whole, it and those behind it are right`, () =>
      Effect.gen(function*() {
        for (const takeover of [true, false]) {
          for (const size of [payload.length + 1, payload.length, 1, 2]) {
            const all = [following[1], payload, ...following]
            assert.strictEqual(yield* deliver(all, takeover, Math.max(1, size)), all.length)
          }
          for (let at = 0; at < payload.length; at++) {
            const all = [following[1], payload.slice(0, at), ...following]
            const isMessage = new ReferenceInflater(false).inflate(payload.slice(0, at)) !== undefined
            const delivered = yield* deliver(all, takeover, at % 3 === 0 ? 7 : 10_000)
            assert.strictEqual(delivered, isMessage ? all.length : 1, `cut at ${at}`)
          }
        }
      }))
  }

  it.effect("fails in a large message too", () =>
    Effect.gen(function*() {
      const payload = deflated(long)
      assert.isAbove(payload.length, 50_000)
      for (const at of [0, 1, 2, 1000, payload.length >> 1].map((less) => payload.length - less)) {
        const all = [payload.slice(0, at), ...following]
        assert.strictEqual(yield* deliver(all, true, 2 ** 20), at === payload.length ? all.length : 0)
      }
    }))

  it.effect("without any bytes does not turn what follows into a stored block", () =>
    Effect.gen(function*() {
      const empty = Array.from({ length: 300 }, () => bytes("00"))
      assert.strictEqual(yield* deliver([following[1], bytes(""), ...empty], true, 10), 1)
      assert.strictEqual(yield* deliver([following[1], ...empty, following[1]], true, 10), 302)
    }))
})

describe("what zlib has in memory", () => {
  it.effect("is nothing before the first message, and nothing after the last connection", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make()
      const client = yield* openClient(PerMessageDeflate.make())
      yield* Effect.scoped(Effect.gen(function*() {
        const server = yield* openServer(extension)
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
        yield* transfer(client, server, message(1))
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 1, windows: 0 })
        yield* transfer(server, client, message(1))
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 1, windows: 0 })
        const { connections, memory } = yield* extension.stats
        assert.deepStrictEqual([connections, memory], [1, deflaterSize + 41 * 1024])
      }))
      const stats = yield* extension.stats
      assert.deepStrictEqual([stats.connections, stats.deflaters, stats.inflaters, stats.memory], [0, 0, 0, 0])
      assert.isBelow(stats.sent.compressed, stats.sent.uncompressed / 2)
      assert.strictEqual(stats.sent.uncompressed, stats.received.uncompressed)
    }))

  it.effect("is released when it is idle, and the windows remain (ws issues 804, 1202)", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 minute" })
      const peers = PerMessageDeflate.make({ releaseAfter: "1 day" })
      const connections: Array<Ends> = []
      for (let i = 0; i < 3; i++) {
        connections.push({ server: yield* openServer(extension), client: yield* openClient(peers), answer: "" })
      }
      const exchange = ({ client, server }: Ends, i: number) =>
        Effect.andThen(transfer(client, server, message(i)), transfer(server, client, message(i)))
      const size = tick(1, 10).length
      for (const connection of connections) yield* exchange(connection, 1)
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 3, inflaters: 3, windows: 0 })
      yield* TestClock.adjust("50 seconds")
      yield* exchange(connections[0], 2)
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 3, inflaters: 3, windows: 0 })
      yield* TestClock.adjust("1 minute")
      // Two minutes less ten seconds after the first look began: used before it, or after.
      yield* TestClock.adjust("10 seconds")
      const kept = yield* statsOf(extension)
      assert.strictEqual(kept.deflaters, 0)
      assert.strictEqual(kept.windows, 2 * size + tick(1, 10).length + tick(2, 10).length)
      for (const connection of connections) {
        const [frame] = yield* transfer(connection.client, connection.server, message(1))
        // It refers to what came before it, in a window that was kept.
        assert.isBelow(frame.payload.length, 40)
        yield* transfer(connection.server, connection.client, message(3))
      }
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 3, inflaters: 3, windows: 0 })
    }))

  it.effect("is kept as long as it is used", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 minute" })
      const { client } = { client: yield* openClient(extension) }
      const server = yield* openServer(PerMessageDeflate.make())
      const sizes: Array<number> = []
      for (let i = 0; i < 5; i++) {
        const [frame] = yield* transfer(client, server, message(1))
        sizes.push(frame.payload.length)
        assert.strictEqual((yield* statsOf(extension)).deflaters, 1)
        yield* TestClock.adjust("1 minute")
      }
      assert.isBelow(Math.max(...sizes.slice(1)), sizes[0] / 5)
      assert.strictEqual((yield* statsOf(extension)).deflaters, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* statsOf(extension)).deflaters, 0)
      const [frame] = yield* transfer(client, server, message(1))
      assert.strictEqual(frame.payload.length, sizes[0])
    }))

  it.effect("stays within its bound, the least recently used going first", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 3 * deflaterSize })
      const peers = PerMessageDeflate.make()
      const connections: Array<Ends> = []
      for (let i = 0; i < 5; i++) {
        connections.push({ client: yield* openClient(extension), server: yield* openServer(peers), answer: "" })
      }
      const first = new Map<Ends, number>()
      const send = (connection: Ends) =>
        Effect.map(transfer(connection.client, connection.server, message(1)), ([frame]) => frame.payload.length)
      for (const connection of connections.slice(0, 3)) first.set(connection, yield* send(connection))
      const fresh = first.get(connections[0])!
      assert.isBelow(yield* send(connections[0]), fresh)
      assert.strictEqual(yield* send(connections[3]), fresh)
      assert.strictEqual((yield* extension.stats).memory, 3 * deflaterSize)
      assert.isBelow(yield* send(connections[0]), fresh)
      assert.strictEqual(yield* send(connections[1]), fresh)
      assert.strictEqual((yield* extension.stats).deflaters, 3)
    }))

  it.effect("is not released in the middle of a message that comes in", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 0, releaseAfter: "1 second" })
      const one = yield* openServer(extension)
      const other = yield* openServer(extension)
      const client = yield* openClient(PerMessageDeflate.make())
      const whole = yield* encode(client, Frame.binary(tick(1, 50)))
      const middle = whole.payload.length >> 1
      const parts = [compressed(whole.payload.slice(0, middle), false), continued(whole.payload.slice(middle), true)]
      const start = yield* decode(one, parts[0])
      yield* decode(other, compressed(bytes("f2 48 cd c9 c9 07 00")))
      yield* TestClock.adjust("1 hour")
      const end = yield* decode(one, parts[1])
      assert.strictEqual(hex(Buffer.concat([start.payload, end.payload])), hex(tick(1, 50)))
    }))

  it.effect("is released after a final block that ended a message, with nothing to keep", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 second" })
      const session = yield* openServer(extension)
      for (let i = 0; i < 3; i++) {
        // "Hello", and a final block that is empty: what the receiver adds is its length.
        const { payload } = yield* decode(session, compressed(bytes("f2 48 cd c9 c9 07 00 00 00 ff ff 01")))
        assert.strictEqual(Buffer.from(payload).toString(), "Hello")
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
      }
    }))

  it.effect("goes with its window at a final block, and at the end of its connection", () =>
    Effect.gen(function*() {
      const hello = compressed(bytes("f2 48 cd c9 c9 07 00"))
      const referring = compressed(bytes("f2 00 11 00 00"))
      const extension = PerMessageDeflate.make({ releaseAfter: "1 second" })
      // Stays, so that spare ones do.
      yield* openServer(extension)
      const begin = Effect.gen(function*() {
        const session = yield* openServer(extension)
        yield* decode(session, hello)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 5 })
        const { payload } = yield* decode(session, referring)
        assert.strictEqual(Buffer.from(payload).toString(), "Hello")
        return session
      })
      yield* Effect.scoped(Effect.gen(function*() {
        const session = yield* begin
        yield* decode(session, compressed(bytes("f3 48 cd c9 c9 07 00 00")))
        // The last "Hello" ended a stream.
        assert.strictEqual((yield* failure(decode(session, referring)))._tag, "InvalidExtensionData")
      }))
      yield* Effect.scoped(begin)
      const next = yield* openServer(extension)
      assert.strictEqual((yield* failure(decode(next, referring)))._tag, "InvalidExtensionData")
    }))

  it.effect("is not released in the middle of a large message that goes out", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 0, releaseAfter: "1 second" })
      const one = yield* openServer(extension)
      const other = yield* openServer(extension)
      const client = yield* openClient(PerMessageDeflate.make())
      yield* transfer(one, client, message(1))
      const payload = tick(1, 5000)
      const encoding = one.encode(Frame.binary(payload), {})
      assert.isTrue(Effect.isEffect(encoding))
      yield* encode(other, Frame.binary(tick(1, 50)))
      yield* TestClock.adjust("1 hour")
      const { payload: decoded } = yield* decode(client, yield* encoding as Effect.Effect<Frame.Frame>)
      assert.strictEqual(hex(decoded), hex(payload))
    }))

  it.effect("is shared by connections that begin anew with each message", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ serverNoContextTakeover: true, clientNoContextTakeover: true })
      const client = yield* openClient(
        PerMessageDeflate.make(),
        "server_no_context_takeover; client_no_context_takeover"
      )
      for (let i = 0; i < 20; i++) {
        const server = yield* openServer(extension)
        yield* transfer(client, server, message(i))
        yield* transfer(server, client, message(i))
      }
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 1, windows: 0 })
    }))

  it.effect.prop(
    "does not change what comes out, however often it is released",
    { options: anyOptions, messages: Arbitrary.array(Arbitrary.all([anySent, anySent])) },
    ({ messages, options }) =>
      Effect.gen(function*() {
        const { serverMaxWindowBits: _, serverNoContextTakeover: __, ...askable } = options
        // Two connections that take it from each other.
        const client = PerMessageDeflate.make({ ...askable, memoryLimit: 0 })
        const server = PerMessageDeflate.make({ ...options, memoryLimit: 0 })
        const open = Effect.suspend(() => {
          const [accepted] = Extension.accept([server], Extension.offer([client]))
          return Effect.all({
            server: accepted.open,
            client: client.confirm(accepted.entry.parameters) as Extension.OpenSession
          })
        })
        const [one, two] = yield* Effect.all([open, open])
        for (const [up, down] of messages) {
          for (const { client: c, server: s } of [one, two]) {
            yield* transfer(c, s, up)
            yield* transfer(s, c, down)
          }
        }
      }).pipe(Effect.scoped)
  )

  it.effect("does not reveal what others have sent to a peer whose message ends within a block", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ memoryLimit: 0 })
      const victim = yield* openServer(extension)
      const attacker = yield* openServer(extension)
      const client = yield* openClient(PerMessageDeflate.make())
      yield* decode(victim, yield* encode(client, Frame.binary(tick(1, 50))))
      // A stored block that declares more than there is.
      const cut = compressed(bytes("f2 48 cd c9 c9 07 00 00 00 ff ff 00 10 00 ef ff 01 02"))
      for (const frame of [cut, compressed(bytes("f2 00 11 00 00"))]) {
        const error = yield* failure(decode(attacker, frame))
        assert.strictEqual(error._tag, "InvalidExtensionData")
        assert.include(error.message, "a message ended within a block")
      }
    }))

  it.effect("is released when the first of several idle streams is not the last one kept", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "1 minute" })
      const sessions: Array<Extension.Session> = []
      for (let i = 0; i < 3; i++) sessions.push(yield* openServer(extension))
      const hello = compressed(bytes("f2 48 cd c9 c9 07 00"))
      for (const session of sessions) yield* decode(session, hello)
      // One is used later than the others, and so outlives the look that releases them.
      yield* TestClock.adjust("90 seconds")
      yield* decode(sessions[2], hello)
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 1, windows: 10 })
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 20 })
      // Nothing is left to look at, so the next stream needs another look.
      yield* decode(sessions[0], hello)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 25 })
    }))
})

describe("the end of a connection", () => {
  it.effect("in the middle of work leaves nothing behind (ws issue 1617)", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make()
      const other = yield* openServer(extension)
      const scope = yield* Scope.make()
      const session = yield* Effect.provideService(openServer(extension), Scope.Scope, scope)
      const encoding = session.encode(Frame.binary(new Uint8Array(2 ** 22)), {})
      const decoding = session.decode(compressed(zeros(4)), { used: 0, limit: 2 ** 30 })
      assert.isTrue(Effect.isEffect(encoding))
      assert.isTrue(Effect.isEffect(decoding))
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 1, windows: 0 })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
      yield* encoding as Effect.Effect<Frame.Frame>
      const error = yield* failure(decoding as Effect.Effect<Frame.Frame, Extension.DecodeError>)
      assert.strictEqual(error._tag, "InvalidExtensionData")
      // Nor does what comes after it.
      const late = yield* encode(session, Frame.binary(tick(1, 50)))
      assert.strictEqual(late.payload.length, tick(1, 50).length)
      assert.strictEqual((yield* failure(decode(session, compressed(bytes("00")))))._tag, "InvalidExtensionData")
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 0, inflaters: 0, windows: 0 })
      yield* encode(other, Frame.binary(tick(1, 50)))
      assert.deepStrictEqual(yield* statsOf(extension), { deflaters: 1, inflaters: 0, windows: 0 })
    }))
})
