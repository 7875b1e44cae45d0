/** The notebook example, built, as a user would run it on Node. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { runExample } from "../support/process.ts"

describe("notebook", () => {
  it.live("prints the notes of all programs, with a server that restarts", () =>
    Effect.gen(function*() {
      const first = yield* runExample("chat/server.js", { PORT: "0" })
      const [, port] = yield* first.printed(/the notebook is at http:\/\/127\.0\.0\.1:(\d+)\/browser\//)
      const environment = { URL: `ws://127.0.0.1:${port}/browser/notes` }
      const ada = yield* runExample("browser/node.js", environment)
      const bob = yield* runExample("browser/node.js", environment)
      yield* Effect.sync(() => ada.child.stdin.write("hello from Ada\n"))
      yield* bob.printed(/^1 hello from Ada$/m)
      first.child.kill("SIGTERM")
      yield* first.ended
      // The note waits for the next server, which numbers its notes from 1.
      yield* Effect.sync(() => bob.child.stdin.write("hello from Bob\n"))
      yield* runExample("chat/server.js", { PORT: String(port) })
      yield* ada.printed(/^1 hello from Bob$/m)
      assert.deepStrictEqual(ada.output().trim().split("\n"), ["1 hello from Ada", "1 hello from Bob"])
    }).pipe(Effect.scoped), 40_000)
})
