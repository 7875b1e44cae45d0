/** Clients that do what they should, and count. */
import { Effect, Stream } from "effect"
import { Connection, PerMessageDeflate, WebSocketClient } from "effect-ws"

type Shape = Connection.Connection

export class Tally {
  /** Messages that `send` has accepted, by the name of the connection. */
  readonly accepted: Record<string, number> = {}
  echoed = 0
  sessions = 0
  visits = 0
  readonly violations: Array<string> = []
  /** What each session, visit or attack may take before that is a violation, in milliseconds. */
  readonly patience: number
  /** Round trips, in milliseconds. */
  readonly roundTrips: Array<number> = []

  constructor(patience: number) {
    this.patience = patience
  }
}

const textOf = (sequence: number): string => {
  const size = sequence % 50 === 0 ? 40_000 : sequence % 10 === 0 ? 3000 : 20
  return `${sequence} `.padEnd(size, "lorem ipsum ")
}

/** The one after the other, each answered before the next: what others feel of the load. */
const talk = (connection: Shape, name: string, tally: Tally, count: number, first: number) =>
  Effect.gen(function*() {
    for (let sequence = first; sequence < first + count; sequence++) {
      const began = performance.now()
      yield* connection.send(textOf(sequence))
      tally.accepted[name]++
      yield* expect(connection, tally, sequence)
      tally.roundTrips.push(performance.now() - began)
    }
  })

const expect = (connection: Shape, tally: Tally, sequence: number) =>
  Effect.map(connection.receive, (message) => {
    tally.echoed++
    if (message._tag !== "Text" || message.text !== textOf(sequence)) {
      tally.violations.push(`expected message ${sequence}, and got another`)
    }
  })

/** A connection of the library's: single messages, many at once, and in fragments; pings; the closing handshake. */
export const session = (url: string, tally: Tally) =>
  Effect.gen(function*() {
    const name = new URL(url).pathname.slice(1)
    const extensions = tally.sessions % 2 === 0 ? [PerMessageDeflate.make()] : []
    const connection = yield* WebSocketClient.connect(url, { extensions, maxMessageSize: 2 ** 20 })
    tally.accepted[name] = 0
    yield* talk(connection, name, tally, 50, 0)
    const sending = Effect.gen(function*() {
      yield* connection.sendAll(Array.from({ length: 100 }, (_, i) => textOf(50 + i)))
      tally.accepted[name] += 100
      for (let sequence = 150; sequence < 250; sequence++) {
        yield* connection.send(textOf(sequence))
        tally.accepted[name]++
      }
      const text = textOf(250)
      yield* connection.sendFragments(Stream.make(text.slice(0, 1), text.slice(1, 20_000), text.slice(20_000)))
      tally.accepted[name]++
    })
    const receiving = Effect.gen(function*() {
      for (let sequence = 50; sequence <= 250; sequence++) yield* expect(connection, tally, sequence)
    })
    yield* Effect.all([sending, receiving, connection.ping()], { concurrency: 3 })
    yield* talk(connection, name, tally, 50, 251)
    tally.sessions++
    const end = yield* connection.close(1000)
    if (!end.normal) tally.violations.push(`a session ended badly: ${end.message}`)
  }).pipe(
    Effect.scoped,
    Effect.timeout(tally.patience),
    Effect.catch((error) => Effect.sync(() => void tally.violations.push(`a session failed: ${error.message}`)))
  )
