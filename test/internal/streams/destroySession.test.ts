import { assert, describe, it } from "vitest"
import type { Http2Session } from "node:http2"
import { destroySession } from "../../../src/internal/streams/destroySession.ts"
import { nextTurn } from "../../../src/internal/runtime/turns.ts"

const makeSession = () => {
  const calls: Array<ReadonlyArray<unknown>> = []
  const session = {
    destroyed: false,
    destroy: (...args: ReadonlyArray<unknown>) => {
      session.destroyed = true
      calls.push(args)
    }
  }
  return { calls, session: session as unknown as Http2Session }
}

const turn = () => new Promise<void>((resolve) => nextTurn(resolve))

describe("destroySession", () => {
  it("destroys the session in the next turn, and once", async () => {
    const { calls, session } = makeSession()
    destroySession(session)
    destroySession(session)
    assert.deepStrictEqual(calls, [])
    await turn()
    assert.deepStrictEqual(calls, [[]])
  })

  it("hands the error and the code of GOAWAY to the session", async () => {
    const { calls, session } = makeSession()
    const error = new Error("flooded")
    destroySession(session, { error, code: 11 })
    await turn()
    assert.deepStrictEqual(calls, [[error, 11]])
  })
})
