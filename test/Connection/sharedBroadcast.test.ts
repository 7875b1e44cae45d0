import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Fiber, Stream } from "effect"
import { Connection, Extension, Frame, Message, PerMessageDeflate, Transport } from "effect-ws"
import { tick } from "../support/deflate.ts"
import { makeRaw, settle } from "../support/memory.ts"
import { among, anyBoolean, either, integer } from "../support/properties.ts"

/** A client and a server with an extension, whose server is one of many. */
const connect = (server: PerMessageDeflate.PerMessageDeflate, client = PerMessageDeflate.make()) =>
  Effect.gen(function*() {
    const negotiated = Extension.accept([server], Extension.offer([client]))
    const confirmed = yield* Effect.fromResult(Extension.confirm([client], negotiated.map(({ entry }) => entry)))
    const [left, right] = yield* Transport.makePair({ highWaterMark: 10_000_000 })
    const keepalive = false
    return {
      server: yield* Connection.make(left, { role: "server", negotiated, keepalive }),
      client: yield* Connection.make(right, { role: "client", negotiated: confirmed, keepalive })
    }
  })

const openServers = (extension: Extension.Extension, count: number) =>
  Effect.forEach(
    Array.from({ length: count }),
    () =>
      makeRaw({
        role: "server",
        negotiated: Extension.accept([extension], Extension.offer([PerMessageDeflate.make()]))
      })
  )

const connectionsOf = (all: ReadonlyArray<{ readonly connection: Connection.Connection }>) =>
  all.map(({ connection }) => connection)

const text = Buffer.from(tick(1, 20)).toString()

describe("broadcast to connections that compress", () => {
  for (const takeover of [true, false]) {
    it.effect(`compresses once for all of them, with context takeover: ${takeover}`, () =>
      Effect.gen(function*() {
        const deflate = PerMessageDeflate.make({ serverNoContextTakeover: !takeover })
        const all = yield* openServers(deflate, 50)
        yield* Connection.broadcast(connectionsOf(all), text)
        yield* Connection.broadcast(connectionsOf(all), text)
        yield* settle
        const { deflaters, sent } = yield* deflate.stats
        assert.deepStrictEqual([sent.uncompressed, deflaters], [2 * text.length, 1])
        const [first, second] = all[0].peer.received
        assert.strictEqual(first.reserved, Frame.Reserved.Rsv1)
        assert.isBelow(first.payload.length, text.length / 2)
        // It refers to nothing before it.
        assert.deepStrictEqual(second, first)
        for (const { peer } of all) assert.deepStrictEqual(peer.received, all[0].peer.received)
      }))
  }

  it.effect("compresses once for each window", () =>
    Effect.gen(function*() {
      const wide = yield* openServers(PerMessageDeflate.make(), 2)
      const narrow = yield* openServers(PerMessageDeflate.make({ serverMaxWindowBits: 9 }), 2)
      const distant = text.slice(0, 900) + Buffer.from(tick(77, 20)).toString() + text.slice(0, 900)
      yield* Connection.broadcast(connectionsOf([...wide, ...narrow]), distant)
      yield* settle
      const sizes = [...wide, ...narrow].map(({ peer }) => peer.received[0].payload.length)
      assert.deepStrictEqual([sizes[0], sizes[2]], [sizes[1], sizes[3]])
      assert.isBelow(sizes[0], sizes[2])
    }))

  it.effect("sends messages uncompressed that are short, do not shrink, or must not be compressed", () =>
    Effect.gen(function*() {
      const all = yield* openServers(PerMessageDeflate.make({ threshold: 10 }), 2)
      const noise = new Uint8Array(Buffer.from("dd1c2a3f4b5e6d7c8b9a0f1e", "hex"))
      yield* Connection.broadcast(connectionsOf(all), ["short", noise, ""])
      yield* Connection.broadcast(connectionsOf(all), text, { compress: false })
      yield* settle
      for (const { peer } of all) {
        assert.deepStrictEqual(peer.received, [
          Frame.text("short"),
          Frame.binary(noise),
          Frame.text(""),
          Frame.text(text)
        ])
      }
    }))

  it.effect("lets each connection compress a message above 1 MiB, with turns of the event loop in between", () =>
    Effect.gen(function*() {
      const deflate = PerMessageDeflate.make()
      const ends = [yield* connect(deflate), yield* connect(deflate)]
      const large = text.repeat(Math.ceil(2 ** 20 / text.length))
      yield* Connection.broadcast(ends.map(({ server }) => server), large)
      for (const { client } of ends) assert.strictEqual(Message.toText(yield* client.receive), large)
      assert.strictEqual((yield* deflate.stats).sent.uncompressed, 2 * large.length)
    }))

  it.effect("lets a connection with a second extension, or with one that throws, encode for itself", () =>
    Effect.gen(function*() {
      const session: Extension.Session = {
        encode: ({ fin, opcode, payload }) => new Frame.Frame(opcode, payload, fin, Frame.Reserved.Rsv2),
        decode: (frame) => frame,
        shared: {
          encode: () => {
            throw new Error("does not share")
          }
        }
      }
      const own = { entry: { name: "own", parameters: [] }, reservedBits: 2, open: Effect.succeed(session) }
      const deflate = PerMessageDeflate.make()
      const two = [...Extension.accept([deflate], Extension.offer([deflate])), own]
      const all = [
        yield* makeRaw({ role: "server", negotiated: [own] }),
        yield* makeRaw({ role: "server", negotiated: two })
      ]
      yield* Connection.broadcast(connectionsOf(all), "x")
      yield* settle
      for (const { peer } of all) {
        assert.deepStrictEqual(
          peer.received.map(({ payload, reserved }) => [Buffer.from(payload).toString(), reserved]),
          [
            ["x", Frame.Reserved.Rsv2]
          ]
        )
      }
    }))

  it.effect("waits for its turn on a connection, and shares the encoding then", () =>
    Effect.gen(function*() {
      const deflate = PerMessageDeflate.make()
      const all = yield* openServers(deflate, 2)
      yield* all[0].connection.sendFrame(Frame.text("begin", { fin: false }))
      const sending = yield* Effect.forkChild(Connection.broadcast(connectionsOf(all), text), {
        startImmediately: true
      })
      yield* settle
      assert.isUndefined(sending.pollUnsafe())
      yield* all[0].connection.sendFrame(Frame.continuation("end"))
      yield* Fiber.join(sending)
      yield* settle
      assert.deepStrictEqual(all[0].peer.received[2], all[1].peer.received[0])
      // The fragments, which each connection compresses, and one broadcast.
      assert.strictEqual((yield* deflate.stats).sent.uncompressed, "begin".length + "end".length + text.length)
    }))

  /** A message to one connection, in fragments or whole, or a broadcast. */
  const anyStep = Arbitrary.map(
    Arbitrary.all([integer(-1, 2), integer(1, 3), integer(1, 12), anyBoolean, anyBoolean]),
    ([to, kind, size, compress, inFragments]) => ({
      to,
      content: Buffer.from(tick(kind, size)).toString(),
      compress,
      inFragments
    })
  )
  const anyBits = among<PerMessageDeflate.WindowBits>(8, 9, 12, 15)
  const anyOptions = Arbitrary.map(
    Arbitrary.all([anyBits, anyBoolean, either(among<number | undefined>(0, 300), among(undefined))]),
    ([serverMaxWindowBits, serverNoContextTakeover, memoryLimit]): PerMessageDeflate.Options => ({
      serverMaxWindowBits,
      serverNoContextTakeover,
      // At 300 KiB the compressors of three connections evict each other.
      memoryLimit: memoryLimit === undefined ? undefined : memoryLimit * 1024,
      threshold: 0
    })
  )

  it.effect.prop(
    "reaches peers intact between any messages of a connection, whatever is in its window",
    [anyOptions, Arbitrary.array(anyStep, { maxLength: 20 })],
    ([options, steps]) =>
      Effect.gen(function*() {
        const deflate = PerMessageDeflate.make(options)
        const ends = [yield* connect(deflate), yield* connect(deflate), yield* connect(deflate)]
        const servers = ends.map(({ server }) => server)
        const expected = ends.map((): Array<string> => [])
        for (const { compress, content, inFragments, to } of steps) {
          if (to === -1) yield* Connection.broadcast(servers, content, { compress })
          else if (inFragments) yield* servers[to].sendFragments(Stream.make(content, content), { compress })
          else yield* servers[to].send(content, { compress })
          for (const [i, texts] of expected.entries()) {
            if (to === -1 || to === i) texts.push(to !== -1 && inFragments ? content + content : content)
          }
        }
        for (const [i, { client }] of ends.entries()) {
          const received = yield* Stream.runCollect(Stream.take(client.messages, expected[i].length))
          assert.deepStrictEqual(received.map(Message.toText), expected[i])
        }
      })
  )
})
