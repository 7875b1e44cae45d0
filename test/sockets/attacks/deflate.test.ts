/** Attacks on permessage-deflate: bombs, invalid parameters and data, compressors that a connection holds. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Connection, Frame, PerMessageDeflate, WebSocketClient } from "effect-ws"
import { deflateRawSync } from "node:zlib"
import { closeCodeAfter, expectAlive, hex, masked, serveEcho } from "../../support/attacks.ts"
import { contentOf } from "../../support/memory.ts"
import { rawHandshake, rawServer, upgradeResponse } from "../../support/net.ts"
import { eventually, memoryInUse } from "../../support/resources.ts"
import { echo } from "../../support/serving.ts"

describe("attacks on permessage-deflate", () => {
  const rsv1 = Frame.Reserved.Rsv1
  const offer = { "Sec-WebSocket-Extensions": "permessage-deflate" }
  const compressed = (payload: Uint8Array) => masked(new Frame.Frame(Frame.Opcode.Binary, payload, true, rsv1))
  const serveDeflate = (options?: Parameters<typeof serveEcho>[0]) => {
    const extension = PerMessageDeflate.make()
    return Effect.map(
      serveEcho({ ...options, serve: { maxMessageSize: 2 ** 20, ...options?.serve, extensions: [extension] } }),
      (server) => ({ ...server, extension })
    )
  }

  it.live("a server closes with 1009 for decompression bombs, in bounded memory (CVE-2026-1526, CVE-2018-1000518, CVE-2026-39804)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      const bomb = deflateRawSync(Buffer.alloc(64 * 2 ** 20))
      assert.isBelow(bomb.length, 2 ** 20)
      const before = yield* memoryInUse
      const codes = yield* Effect.forEach(
        Array.from({ length: 8 }),
        () => closeCodeAfter(server, compressed(bomb), offer),
        { concurrency: 8 }
      )
      assert.deepStrictEqual(codes, Array.from({ length: 8 }, () => 1009))
      assert.isBelow((yield* memoryInUse) - before, 16 * 2 ** 20)
      assert.deepInclude(yield* server.extension.stats, { connections: 0 })
      yield* expectAlive(server)
    }))

  it.live("a server ignores invalid window sizes, and a client fails with ExtensionMismatch (CVE-2026-2229)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      for (const bits of ["0", "7", "16", "-1", "99999999999999999999", "1e1", "0x8", "08", ""]) {
        const { head } = yield* rawHandshake(server.port, {
          "Sec-WebSocket-Extensions": `permessage-deflate; server_max_window_bits=${bits === "" ? "\"\"" : bits}`
        }).pipe(Effect.catchDefect(() => Effect.succeed({ head: "" })))
        assert.notInclude(head, "permessage-deflate", bits)
      }
      const fake = yield* rawServer((peer) =>
        peer.socket.on("data", (chunk) => {
          peer.write(upgradeResponse(chunk, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=16"))
        })
      )
      const error = yield* Effect.flip(
        WebSocketClient.connect(`ws://127.0.0.1:${fake.port}/`, { extensions: [PerMessageDeflate.make()] })
      )
      assert.strictEqual(error._tag, "ExtensionMismatch")
      yield* expectAlive(server)
    }))

  it.live("a server closes with 1002 if RSV1 is set without the extension, on a continuation or on a ping (GHSA-mq44-7p77-q5h7)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      assert.strictEqual(yield* closeCodeAfter(server, compressed(hex("00"))), 1002)
      // RFC 7692 §6: RSV1 is invalid on a continuation and on a control frame.
      const late = masked(
        Frame.binary(hex("61"), { fin: false }),
        new Frame.Frame(Frame.Opcode.Continuation, hex("00"), true, rsv1)
      )
      assert.strictEqual(yield* closeCodeAfter(server, late, offer), 1002)
      assert.strictEqual(
        yield* closeCodeAfter(server, masked(new Frame.Frame(Frame.Opcode.Ping, hex(""), true, rsv1)), offer),
        1002
      )
      yield* expectAlive(server)
    }))

  it.live("a bomb that ends in invalid DEFLATE data closes with 1009, once (CVE-2026-85024)", () =>
    Effect.gen(function*() {
      const server = yield* serveDeflate()
      const bomb = deflateRawSync(Buffer.alloc(4 * 2 ** 20))
      const broken = Buffer.concat([bomb.subarray(0, -1), Buffer.alloc(100, 0xff)])
      const codes = yield* Effect.forEach(
        [broken, Buffer.alloc(1000, 0xff)],
        (bytes) => closeCodeAfter(server, Buffer.concat([compressed(bytes), compressed(bytes)]), offer)
      )
      assert.deepStrictEqual(codes, [1009, 1007])
      assert.strictEqual(server.ends.length, 2)
      yield* expectAlive(server)
    }))

  it.live(
    "peers that reset during compression release their compressors (ws issue 1617)",
    () =>
      Effect.gen(function*() {
        const extension = PerMessageDeflate.make()
        const noise = Buffer.from(Array.from({ length: 500_000 }, (_, i) => (i * 7919) % 251))
        const server = yield* serveEcho(
          { serve: { extensions: [extension] } },
          Effect.gen(function*() {
            const connection = yield* Connection.Connection
            if (connection.extensions.length === 0) return yield* echo
            return yield* Effect.forever(connection.send(noise))
          })
        )
        for (let i = 0; i < 30; i++) {
          const peer = yield* rawHandshake(server.port, offer)
          yield* peer.until((received) => received.length > 1000)
          peer.socket.resetAndDestroy()
        }
        yield* eventually(() => server.ends.length === 30)
        while ((yield* extension.stats).connections > 0) yield* Effect.yieldNow
        assert.deepInclude(yield* extension.stats, { deflaters: 0, inflaters: 0, memory: 0 })
        const good = yield* WebSocketClient.connect(server.url, { extensions: [PerMessageDeflate.make()] })
        const message = yield* good.receive
        assert.isTrue(noise.equals(message.bytes))
        yield* good.close()
      }),
    20_000
  )

  it.live("idle connections release their compressors after releaseAfter (ws issues 804, 1202)", () =>
    Effect.gen(function*() {
      const extension = PerMessageDeflate.make({ releaseAfter: "100 millis" })
      const server = yield* serveEcho({ serve: { extensions: [extension] } })
      const clients = yield* Effect.replicateEffect(
        WebSocketClient.connect(server.url, { extensions: [PerMessageDeflate.make()] }),
        40
      )
      const text = "the same again and again ".repeat(100)
      for (const client of clients) {
        yield* client.send(text)
        assert.strictEqual(contentOf(yield* client.receive), text)
      }
      while ((yield* extension.stats).deflaters + (yield* extension.stats).inflaters > 0) yield* Effect.sleep(10)
      assert.strictEqual((yield* extension.stats).connections, 40)
      for (const client of clients) {
        yield* client.send(text)
        assert.strictEqual(contentOf(yield* client.receive), text)
      }
    }))
})
