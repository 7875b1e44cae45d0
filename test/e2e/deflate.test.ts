/** Compression in processes of their own, on the built library: memory, unsupported versions of Node, the end of a program. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { PerMessageDeflate } from "effect-ws"
import { randomBytes } from "node:crypto"
import { openBoth, tick, transfer } from "../support/deflate.ts"
import { runProgram } from "../support/process.ts"

const index = new URL("../../dist/index.js", import.meta.url).href

/** Returns what a program prints that ends with 0. */
const run = (program: string) =>
  Effect.gen(function*() {
    const source = program.replaceAll("\"effect-ws\"", JSON.stringify(index))
    const { ended, output } = yield* runProgram(process.execPath, ["--input-type=module", "-e", source])
    assert.strictEqual(yield* ended, 0, output())
    return output()
  })

describe("permessage-deflate", () => {
  it.live("takes no more memory for a bomb of 2 GiB than the limit of a message", () =>
    Effect.gen(function*() {
      const output = yield* run(`
        import { Effect } from "effect"
        import { Frame, PerMessageDeflate } from "effect-ws"
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
      `)
      const [tag, kibibytes] = output.trim().split(" ")
      assert.strictEqual(tag, "MessageTooLarge")
      assert.isBelow(Number(kibibytes), 48 * 1024)
    }), 60_000)

  it.live("offers and accepts nothing if the self-test fails", () =>
    Effect.gen(function*() {
      const output = yield* run(`
        import { Effect } from "effect"
        import { PerMessageDeflate } from "effect-ws"
        import { createDeflateRaw } from "node:zlib"
        const extension = PerMessageDeflate.make()
        delete Object.getPrototypeOf(createDeflateRaw()._handle).writeSync
        console.log(Effect.runSync(PerMessageDeflate.isSupported), extension.offers.length, extension.accept([]))
      `)
      assert.strictEqual(output, "false 0 undefined\n")
    }), 60_000)

  it.live("keeps no process alive after the last connection", () =>
    Effect.gen(function*() {
      const output = yield* run(`
        import { Effect } from "effect"
        import { Frame, PerMessageDeflate } from "effect-ws"
        const extension = PerMessageDeflate.make({ releaseAfter: "1 hour" })
        await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          const session = yield* extension.accept([]).open
          session.encode(Frame.text("x".repeat(1000)), {})
          console.log((yield* extension.stats).deflaters)
        })))
        console.log(Effect.runSync(extension.stats).deflaters)
      `)
      assert.strictEqual(output, "1\n0\n")
    }), 60_000)

  it.live("delivers 5 MB of text, zeros and noise unchanged", () =>
    Effect.gen(function*() {
      assert.isTrue(yield* PerMessageDeflate.isSupported)
      const size = 5_000_000
      const { client, server } = yield* openBoth()
      const text = Buffer.concat(Array.from({ length: Math.ceil(size / 700) }, (_, i) => tick(i, 12)))
      for (const payload of [Uint8Array.from(text.subarray(0, size)), new Uint8Array(size), randomBytes(size)]) {
        for (const cuts of [[], [0, 70_000]]) yield* transfer(client, server, { payload, cuts, compress: true })
      }
      yield* transfer(client, server, { payload: tick(1, 9), cuts: [], compress: true })
    }), 60_000)
})
