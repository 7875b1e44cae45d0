/**
 * Runs the cases of a fuzzing server, such as that of the Autobahn TestSuite:
 * connects for each, and echoes what the server sends.
 *
 *   URL=ws://127.0.0.1:9001 CASES=1-10,42 node build/examples/autobahn-client.js
 *
 * CASES leaves out all others; without it, all that the server has are run.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Option, Stream } from "effect"
import { Message, WebSocketClient } from "effect-ws"

const agent = "effect-ws"

/** "1-3,7" as [1, 2, 3, 7]. */
const parseCases = (list: string): ReadonlyArray<number> =>
  list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })

const getCaseCount = (url: string) =>
  Effect.gen(function*() {
    const connection = yield* WebSocketClient.connect(`${url}/getCaseCount`)
    const message = yield* connection.receive
    return Number(Message.toText(message))
  }).pipe(Effect.scoped)

const runCase = (url: string, number: number) =>
  Effect.gen(function*() {
    const connection = yield* WebSocketClient.connect(`${url}/runCase?case=${number}&agent=${agent}`)
    yield* Stream.runForEach(connection.messages, connection.send)
  }).pipe(
    Effect.scoped,
    // Many cases are about connections that must fail. The server keeps the score.
    Effect.catchTag("ConnectionClosed", (closed) => Console.log(`  ${closed.message}`))
  )

const updateReports = (url: string) =>
  Effect.gen(function*() {
    const connection = yield* WebSocketClient.connect(`${url}/updateReports?agent=${agent}`)
    yield* connection.closed
  }).pipe(Effect.scoped)

const program = Effect.gen(function*() {
  const url = yield* Config.String("URL").pipe(Config.withDefault("ws://127.0.0.1:9001"))
  const wanted = Option.map(yield* Config.option(Config.String("CASES")), parseCases)
  const count = yield* getCaseCount(url)
  const cases = Option.getOrElse(wanted, () => Array.from({ length: count }, (_, i) => i + 1))
  for (const number of cases) {
    yield* Console.log(`case ${number} of ${count}`)
    yield* runCase(url, number)
  }
  yield* updateReports(url)
})

NodeRuntime.runMain(program)
