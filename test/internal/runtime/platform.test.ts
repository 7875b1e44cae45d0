import { createHash } from "node:crypto"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "vitest"
import * as browser from "../../../src/internal/runtime/platform/browser.ts"
import * as node from "../../../src/internal/runtime/platform/node.ts"

const platforms: Record<string, typeof node> = { node, browser }

const texts = ["", "a", "Hällo", "€uro", "\u{1f600}", "x".repeat(70_000), "\ud800"]

it("the platform of a browser has the limits that each current browser can hold", () => {
  assert.deepStrictEqual([browser.maxBytes, browser.maxTextBytes], [2147483647, 536870888])
})

it("both platforms export the same names", () => {
  assert.deepStrictEqual(Object.keys(browser).toSorted(), Object.keys(node).toSorted())
})

for (const [name, platform] of Object.entries(platforms)) {
  describe(`the platform of ${name}`, () => {
    it("isUint8Array accepts Uint8Arrays of any realm and nothing else", () => {
      const accepted = [
        new Uint8Array(1),
        Buffer.alloc(1),
        runInNewContext("new Uint8Array(1)"),
        new (class extends Uint8Array {})(1)
      ]
      for (const value of accepted) assert.isTrue(platform.isUint8Array(value))
      const lookalike = { __proto__: Uint8Array.prototype, [Symbol.toStringTag]: "Uint8Array" }
      for (
        const value of [undefined, null, 1, "a", [], {}, new Int8Array(1), new DataView(new ArrayBuffer(1)), lookalike]
      ) {
        assert.isFalse(platform.isUint8Array(value))
      }
      assert.isFalse(platform.isUint8Array(new Proxy(new Uint8Array(1), {})))
    })

    it("isSharedArrayBuffer accepts SharedArrayBuffers of any realm and nothing else", () => {
      for (const value of [new SharedArrayBuffer(1), runInNewContext("new SharedArrayBuffer(1)")]) {
        assert.isTrue(platform.isSharedArrayBuffer(value))
      }
      for (const value of [undefined, new ArrayBuffer(1), new Uint8Array(1)]) {
        assert.isFalse(platform.isSharedArrayBuffer(value))
      }
    })

    it("inspect shows values of each type", () => {
      for (const value of [NaN, Infinity, -1, true, undefined, null]) {
        assert.strictEqual(platform.inspect(value), String(value))
      }
      assert.match(platform.inspect("text"), /^["']text["']$/)
      assert.match(platform.inspect({ seconds: NaN }), /seconds.*NaN/)
    })

    it("allocates the size that was asked for", () => {
      for (const allocate of [platform.allocatePooled, platform.allocateUnpooled, platform.allocateTextBuffer]) {
        for (const size of [0, 1, 100, 70_000]) assert.strictEqual(allocate(size).length, size)
      }
      assert.strictEqual(platform.allocateUnpooled(5).buffer.byteLength, 5)
      assert.strictEqual(platform.allocateTextBuffer(5).buffer.byteLength, 5)
    })

    it("maxBytes and maxTextBytes are within the limits of this runtime", () => {
      assert.isAtMost(platform.maxBytes, node.maxBytes)
      assert.isAtMost(platform.maxTextBytes, node.maxTextBytes)
      assert.isAbove(platform.maxTextBytes, 2 ** 28)
    })

    it("markUntransferable accepts any ArrayBuffer", () => {
      platform.markUntransferable(new ArrayBuffer(1))
    })

    it("concatBytes copies all parts in order", () => {
      const parts = [Uint8Array.of(1, 2), Uint8Array.of(), Uint8Array.of(3)]
      assert.deepStrictEqual([...platform.concatBytes(parts)], [1, 2, 3])
      assert.strictEqual(platform.concatBytes([]).length, 0)
    })

    it("equalBytes compares lengths and bytes", () => {
      assert.isTrue(platform.equalBytes(Uint8Array.of(1, 2), Buffer.of(1, 2)))
      assert.isTrue(platform.equalBytes(Uint8Array.of(), Uint8Array.of()))
      for (const other of [[1], [1, 3], [1, 2, 0], [2, 1]]) {
        assert.isFalse(platform.equalBytes(Uint8Array.of(1, 2), Uint8Array.from(other)))
      }
    })

    it("encodes text in UTF-8", () => {
      for (const text of texts) {
        const expected = new TextEncoder().encode(text)
        assert.strictEqual(platform.utf8Length(text), expected.length)
        const buffer = platform.allocateTextBuffer(expected.length + 3)
        assert.strictEqual(buffer.write(text, 2), expected.length)
        assert.deepStrictEqual(new Uint8Array(buffer.subarray(2, 2 + expected.length)), expected)
        assert.isTrue(platform.isUtf8(expected))
      }
    })

    it("a text buffer has no room for a part of a character", () => {
      assert.strictEqual(platform.allocateTextBuffer(4).write("aa€", 0), 2)
    })

    it("isUtf8 rejects invalid and unfinished sequences", () => {
      for (const bytes of [[0x80], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
        assert.isFalse(platform.isUtf8(Uint8Array.from(bytes)))
      }
    })

    it("toBase64 encodes a view without the rest of its buffer", () => {
      const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
      for (let end = 0; end <= 256; end += 17) {
        assert.strictEqual(
          platform.toBase64(bytes.subarray(3, end)),
          Buffer.from(bytes.slice(3, end)).toString("base64")
        )
      }
    })

    it("fillRandom fills the whole array", () => {
      const words = new Int32Array(1024)
      platform.fillRandom(words)
      assert.isAbove(new Set(words).size, 1000)
      const bytes = new Uint8Array(new ArrayBuffer(64), 16, 32)
      platform.fillRandom(bytes)
      assert.isTrue(bytes.some((byte) => byte !== 0))
      assert.isTrue(new Uint8Array(bytes.buffer, 0, 16).every((byte) => byte === 0))
    })

    it("sha1Base64 hashes texts of each length up to several blocks", () => {
      for (let length = 0; length <= 200; length++) {
        const text = "The quick brown fox jumps over the lazy dog. ".repeat(5).slice(0, length)
        assert.strictEqual(platform.sha1Base64(text), createHash("sha1").update(text).digest("base64"))
      }
      // RFC 6455 §1.3
      const key = "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
      assert.strictEqual(platform.sha1Base64(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    })

    it("hasIdled tells only on Node whether the event loop has waited since the last call", async () => {
      const pause = () => new Promise((resolve) => setTimeout(resolve, 5))
      platform.hasIdled()
      await pause()
      // A busy machine may leave the event loop nothing to wait for.
      if (name === "node") { while (!platform.hasIdled()) await pause() }
      assert.isFalse(platform.hasIdled())
    })

    it("nextTurn runs steps in order, after the microtasks of this turn", async () => {
      const ran: Array<string> = []
      const done = new Promise<void>((resolve) => {
        platform.nextTurn(() => ran.push("first"))
        platform.nextTurn(() => {
          ran.push("second")
          resolve()
        })
      })
      await Promise.resolve().then(() => ran.push("microtask"))
      await done
      assert.deepStrictEqual(ran, ["microtask", "first", "second"])
    })
  })
}
