import { assert, it } from "@effect/vitest"
import { WebSocket } from "undici"
import { states } from "../../../src/internal/browser/states.ts"

it("the states of a WebSocket have the numbers of its standard", () => {
  const { CLOSED: closed, CLOSING: closing, CONNECTING: connecting, OPEN: open } = WebSocket
  assert.deepStrictEqual({ ...states }, { connecting, open, closing, closed } as unknown as typeof states)
})
