import { assert, describe, it } from "vitest"
import type { Http2Session } from "node:http2"
import { raiseSessionWindow, streamWindow } from "../../../src/internal/streams/http2Windows.ts"

describe("the windows of HTTP/2", () => {
  it("a stream has 256 KiB, and a session has 4 MiB", () => {
    const sizes: Array<number> = []
    const session = { setLocalWindowSize: (size: number) => void sizes.push(size) }
    raiseSessionWindow(session as unknown as Http2Session)
    assert.deepStrictEqual([streamWindow, ...sizes], [262_144, 4_194_304])
  })
})
