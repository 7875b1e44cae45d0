import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Transport } from "effect-ws"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import { http2Pair } from "../../support/http2.ts"
import { connectHeaders, flags, frameTypes, type Http2Peer, http2Peer } from "../../support/http2Frames.ts"
import { eventually } from "../../support/resources.ts"
import { bytes, record } from "../../support/transport.ts"

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = Http2.constants

const sizeOf = (chunks: ReadonlyArray<Uint8Array>) => chunks.reduce((sum, chunk) => sum + chunk.length, 0)

/** A stream whose end at the server is a transport. */
const opened = Effect.fnUntraced(function*(options?: Http2.ServerOptions) {
  const pair = yield* http2Pair(options)
  const [client, server] = yield* pair.open
  const transport = Transport.fromDuplex(server)
  return { pair, client, server, transport, ...record(transport) }
})

/** A stream whose client writes frames by hand: Node's would send END_STREAM before each reset. */
const openedByHand = Effect.gen(function*() {
  const pair = yield* http2Pair()
  const accepted = Effect.callback<Http2.ServerHttp2Stream>((resume) => {
    pair.listener.once("stream", (stream) => {
      stream.respond({ ":status": 200 })
      resume(Effect.succeed(stream))
    })
  })
  const peer = yield* http2Peer((pair.listener.address() as Net.AddressInfo).port)
  peer.headers(1, connectHeaders())
  const server = yield* accepted
  const transport = Transport.fromDuplex(server)
  return { peer, server, transport, ...record(transport) }
})

describe("Http2StreamTransport", () => {
  it.live("delivers bytes in both directions, after its head", () =>
    Effect.gen(function*() {
      const pair = yield* http2Pair()
      const [client, server] = yield* pair.open
      const transport = Transport.fromDuplex(server, bytes("head "))
      const left = record(transport)
      const right = record(Transport.fromDuplex(client))
      client.write("data")
      yield* eventually(() => left.chunks.length > 1)
      transport.write([bytes("a"), bytes("b")])
      yield* eventually(() => sizeOf(right.chunks) === 2)
      assert.strictEqual(Buffer.concat(left.chunks).toString(), "head data")
      assert.strictEqual(Buffer.concat(right.chunks).toString(), "ab")
    }))

  it.live("ends its side with END_STREAM and reads on up to that of the peer", () =>
    Effect.gen(function*() {
      const { client, error, events, transport } = yield* opened()
      transport.write([bytes("last")])
      transport.end()
      client.resume()
      yield* eventually(() => client.readableEnded)
      client.write("more")
      yield* eventually(() => events.length > 0)
      assert.deepStrictEqual(events, ["data more"])
      client.end()
      yield* eventually(() => events.includes("close"))
      assert.deepStrictEqual([events, error()], [["data more", "end", "close"], undefined])
      assert.strictEqual(client.rstCode, NGHTTP2_NO_ERROR)
    }))

  it.live("reports END_STREAM of the peer as its end, and can write after it", () =>
    Effect.gen(function*() {
      const { client, error, events, transport } = yield* opened()
      const right = record(Transport.fromDuplex(client))
      client.end("last")
      yield* eventually(() => events.includes("end"))
      transport.write([bytes("reply")])
      transport.end()
      yield* eventually(() => events.includes("close") && right.events.includes("close"))
      assert.deepStrictEqual([events, error()], [["data last", "end", "close"], undefined])
      assert.deepStrictEqual([right.events, right.error()], [["data reply", "end", "close"], undefined])
    }))

  for (const [name, code] of Object.entries({ CANCEL: NGHTTP2_CANCEL, NO_ERROR: NGHTTP2_NO_ERROR })) {
    it.live(`reports a reset with ${name} before END_STREAM as ECONNRESET, and no end`, () =>
      Effect.gen(function*() {
        const { error, events, peer, transport } = yield* openedByHand
        peer.data(1, "last")
        peer.reset(1, code)
        yield* eventually(() => events.includes("close"))
        assert.deepStrictEqual(events, ["data last", "close"])
        assert.strictEqual(error()?.code, "ECONNRESET")
        assert.strictEqual(error()?.message, `the transport failed: the peer reset the HTTP/2 stream with ${name}`)
        assert.isFalse(transport.write([bytes("x")]))
      }))

    it.live(`delivers what the peer sent before a reset with ${name} to a paused receiver`, () =>
      Effect.gen(function*() {
        const { error, events, peer, server, transport } = yield* openedByHand
        transport.pause()
        peer.data(1, "last")
        yield* eventually(() => server.readableLength > 0)
        peer.reset(1, code)
        yield* eventually(() => events.includes("close"))
        assert.deepStrictEqual(events, ["data last", "close"])
        assert.strictEqual(error()?.code, "ECONNRESET")
      }))

    it.live(`reports no error if the peer resets the stream with ${name} after its END_STREAM`, () =>
      Effect.gen(function*() {
        const { error, events, peer } = yield* openedByHand
        peer.data(1, "last", flags.END_STREAM)
        yield* eventually(() => events.includes("end"))
        peer.reset(1, code)
        yield* eventually(() => events.includes("close"))
        assert.deepStrictEqual([events, error()], [["data last", "end", "close"], undefined])
      }))
  }

  it.live("reports a reset with CANCEL after its own END_STREAM as ECONNRESET", () =>
    Effect.gen(function*() {
      const { error, events, peer, server, transport } = yield* openedByHand
      transport.end()
      yield* eventually(() => server.writableFinished)
      peer.reset(1, NGHTTP2_CANCEL)
      yield* eventually(() => events.includes("close"))
      assert.deepStrictEqual([events, error()?.code], [["close"], "ECONNRESET"])
    }))

  it.live("reports a reset with another code as Node's error, which names it", () =>
    Effect.gen(function*() {
      const { error, events, peer } = yield* openedByHand
      peer.reset(1, NGHTTP2_INTERNAL_ERROR)
      yield* eventually(() => events.includes("close"))
      assert.deepStrictEqual(events, ["close"])
      assert.strictEqual(error()?.code, "ERR_HTTP2_STREAM_ERROR")
      assert.match(error()!.message, /NGHTTP2_INTERNAL_ERROR/)
    }))

  const losses: ReadonlyArray<readonly [name: string, lose: (peer: Http2Peer) => void, code: string]> = [
    ["its socket ends", ({ socket }) => socket.end(), "ECONNRESET"],
    ["its socket is reset", ({ socket }) => socket.resetAndDestroy(), "ECONNRESET"],
    ["GOAWAY with an error", (peer) => peer.goAway(NGHTTP2_INTERNAL_ERROR), "ERR_HTTP2_SESSION_ERROR"]
  ]
  for (const [name, lose, code] of losses) {
    it.live(`reports the loss of the session: ${name}`, () =>
      Effect.gen(function*() {
        const peer = yield* openedByHand
        lose(peer.peer)
        yield* eventually(() => peer.events.includes("close"))
        assert.deepStrictEqual([peer.events, peer.error()?.code], [["close"], code])
      }))
  }

  it.live("destroy sends what was written before, then a reset with CANCEL", () =>
    Effect.gen(function*() {
      const { client, error, events, transport } = yield* opened()
      const right = record(Transport.fromDuplex(client))
      transport.write([bytes("last")])
      transport.destroy()
      transport.destroy()
      yield* eventually(() => events.includes("close") && right.events.includes("close"))
      assert.deepStrictEqual([events, error()], [["close"], undefined])
      assert.deepStrictEqual([right.events, right.error()?.code], [["data last", "close"], "ECONNRESET"])
      assert.strictEqual(client.rstCode, NGHTTP2_CANCEL)
    }))

  it.live("destroy delivers nothing more", () =>
    Effect.gen(function*() {
      const { client, events, server, transport } = yield* opened()
      transport.pause()
      client.end("unread")
      yield* eventually(() => server.readableLength > 0)
      transport.destroy()
      yield* eventually(() => events.includes("close"))
      assert.deepStrictEqual(events, ["close"])
    }))

  it.live("destroy sends no END_STREAM, which the peer would take for an end in order", () =>
    Effect.gen(function*() {
      const { events, peer, transport } = yield* openedByHand
      transport.destroy()
      const reset = yield* peer.untilFrame(({ type }) => type === frameTypes.RST_STREAM)
      assert.deepStrictEqual(Array.from(reset.payload), [0, 0, 0, NGHTTP2_CANCEL])
      assert.isFalse(peer.frames().some((frame) => frame.type === frameTypes.DATA))
      yield* eventually(() => events.includes("close"))
    }))

  it.live("destroy after END_STREAM resets the stream with NO_ERROR", () =>
    Effect.gen(function*() {
      const { client, events, server, transport } = yield* opened()
      client.resume()
      transport.end()
      yield* eventually(() => server.writableFinished && client.readableEnded)
      transport.destroy()
      yield* eventually(() => events.includes("close") && client.closed)
      assert.strictEqual(client.rstCode, NGHTTP2_NO_ERROR)
    }))

  it.live("destroy resets the stream with CANCEL if END_STREAM waits behind data that the peer does not read", () =>
    Effect.gen(function*() {
      const { client, events, transport } = yield* opened()
      client.pause()
      transport.write([new Uint8Array(1_000_000)])
      transport.end()
      yield* eventually(() => client.readableLength > 0)
      transport.destroy()
      yield* eventually(() => events.includes("close") && client.closed)
      assert.strictEqual(client.rstCode, NGHTTP2_CANCEL)
    }))

  it.live("write returns false above the high-water mark, and a drain follows once the peer reads", () =>
    Effect.gen(function*() {
      const { client, events, transport } = yield* opened()
      client.pause()
      while (transport.write([new Uint8Array(100_000)]) || transport.bufferedAmount() < 200_000);
      client.resume()
      yield* eventually(() => events.includes("drain"))
      assert.strictEqual(transport.bufferedAmount(), 0)
    }))

  it.live("a paused transport receives no more than its high-water mark and the window of the stream, and holds back no other stream", () =>
    Effect.gen(function*() {
      const window = 100_000
      const { chunks: stalled, client, pair, server, transport } = yield* opened({
        settings: { initialWindowSize: window }
      })
      transport.pause()
      client.write(new Uint8Array(1_000_000))
      const [other, otherServer] = yield* pair.open
      const { chunks } = record(Transport.fromDuplex(otherServer))
      other.write(new Uint8Array(1_000_000))
      yield* eventually(() => sizeOf(chunks) === 1_000_000)
      assert.isAtMost(server.readableLength, window + server.readableHighWaterMark)
      assert.isAbove(client.writableLength, 0)
      transport.resume()
      yield* eventually(() => sizeOf(stalled) === 1_000_000)
    }))
})
