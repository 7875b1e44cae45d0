/** What a run of the connection model records, and the rules that each history obeys. */
import { Cause, Effect, Exit, type Fiber } from "effect"
import { type Connection, ConnectionError } from "effect-ws"
import { strict as assert } from "node:assert"
import { messagesOf, type WireFrame } from "./wire.ts"

/** An operation on the connection. */
export interface Operation {
  readonly name: string
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** The messages that it sends, in order. */
  readonly sends: ReadonlyArray<string>
  /** Whether no other frame may stand between them. */
  readonly together: boolean
  /** The messages that it has received. */
  readonly received: Array<string>
  /** The payload of its ping. */
  readonly ping: string | undefined
  interrupted: boolean
}

/** A message of the peer. */
export interface Incoming {
  readonly text: string
  /** The number of bytes from the peer up to its end. */
  readonly end: number
}

/** A ping or pong of the peer. */
export interface IncomingControl {
  readonly payload: string
  readonly end: number
}

export interface History {
  readonly connection: Connection.Connection
  /** The first one is `closed`. */
  readonly operations: ReadonlyArray<Operation>
  /** All fibers that have run. */
  readonly fibers: Iterable<Fiber.Fiber<unknown, unknown>>
  readonly sleeperCount: number
  /** The frames that the connection has written, without extensions. */
  readonly wire: Array<WireFrame>
  readonly incoming: ReadonlyArray<Incoming>
  readonly pings: ReadonlyArray<IncomingControl>
  readonly pongs: ReadonlyArray<IncomingControl>
  /** The number of bytes from the peer that the connection has got. */
  readonly delivered: number
  /** The value of `delivered` at the first event that may end the connection. */
  readonly closingFrom: number
  readonly extensionSuspends: boolean
  readonly transportFailed: boolean
  /** Whether the transport ever was above its high-water mark. */
  readonly wasAboveHighWaterMark: boolean
}

/** Fails unless the history is one that the connection permits. Returns how the connection and the operations ended. */
export const verify = (history: History): string => {
  for (const [i, { fiber, name }] of history.operations.entries()) {
    assert.ok(fiber.pollUnsafe() !== undefined, `${i}: ${name} ends with the connection`)
  }
  for (const fiber of history.fibers) assert.ok(fiber.pollUnsafe() !== undefined, "no fiber remains")
  assert.equal(history.sleeperCount, 0, "no fiber sleeps")
  const closed = verifyEnds(history)
  verifySent(history)
  verifyReceived(history)
  verifyPings(history)
  const how = closed.cause?._tag ?? `${closed.closedBy} ${closed.code}`
  const failed = history.operations.filter(({ fiber }) => endOf(fiber) === "-").map(({ name }) => name)
  return [how, ...[...new Set(failed)].toSorted()].join(" ")
}

/** Checks the exit of each operation, and returns the end of the connection. */
const verifyEnds = (history: History): ConnectionError.ConnectionClosed => {
  const closed = history.operations[0].interrupted
    ? Effect.runSync(history.connection.closed)
    : succeeded<ConnectionError.ConnectionClosed>(history.operations[0].fiber)
  for (const { fiber, interrupted, name } of history.operations) {
    const exit = fiber.pollUnsafe()!
    if (Exit.isSuccess(exit)) {
      if (name === "close" || name === "closed") assert.equal(exit.value, closed, "closed is the same value everywhere")
      continue
    }
    if (Cause.hasDies(exit.cause)) throw new Error(Cause.pretty(exit.cause))
    if (Cause.hasInterruptsOnly(exit.cause)) {
      assert.ok(interrupted, `${name} was interrupted without a reason`)
      continue
    }
    const error = Cause.squash(exit.cause)
    if (error instanceof ConnectionError.ConnectionClosed) continue
    const expected = name === "receiveFragments"
      ? error instanceof ConnectionError.MessageSkipped
      : error === "given up"
    assert.ok(expected, `${name} fails with ${String(error)}`)
  }
  return closed
}

/** Checks that the wire has the messages of `send`, whole and in order. */
const verifySent = (history: History): void => {
  const { wire } = history
  const data = wire.filter(({ opcode }) => opcode < 8)
  const sent = messagesOf(wire).map((message) => message.data.toString())
  // An abandoned message in fragments is the last on the wire.
  const closes = wire.filter(({ opcode }) => opcode === 8)
  assert.ok(closes.length <= 1)
  assert.equal(new Set(sent).size, sent.length, "no message is sent twice")
  let rest = [...sent]
  for (const { fiber, name, sends, together } of history.operations) {
    const positions = sends.map((text) => sent.indexOf(text))
    rest = rest.filter((text) => !sends.includes(text))
    const exit = fiber.pollUnsafe()!
    const count = positions.filter((at) => at >= 0).length
    // Messages of the turn in which the transport failed may not be on the wire.
    if (Exit.isSuccess(exit) && !history.transportFailed) {
      assert.equal(count, sends.length, `${name} sends all of its messages`)
    } // A slow extension may not have encoded all of them when the connection ended.
    else if (together && !history.extensionSuspends) {
      assert.ok(count === 0 || count === sends.length, `${name} sends all or nothing`)
    }
    const found = positions.slice(0, count)
    assert.ok(found.every((at, i) => at >= 0 && (i === 0 || at > found[i - 1])), `${name} sends in order`)
    if (together && count > 0) {
      // Control frames overtake messages that a slow extension encodes.
      const frames = history.extensionSuspends
        ? found
        : found.map((at) => wire.indexOf(data.filter(({ fin }) => fin)[at]))
      assert.ok(
        frames.every((at, i) => i === 0 || at === frames[i - 1] + 1),
        `${name} sends without other frames in between`
      )
    }
    const failed = Exit.isFailure(exit) && !Cause.hasInterrupts(exit.cause) && sends.length === 1
    if (failed) assert.equal(count, 0, `${name} failed, and sent nothing`)
  }
  assert.deepEqual(rest, [], "no other message is sent")
}

/** Checks that readers received the messages of the peer, each once and in order. */
const verifyReceived = (history: History): void => {
  const all = history.operations.flatMap(({ received }) => received)
  assert.equal(new Set(all).size, all.length, "no message is received twice")
  const texts = history.incoming.map(({ text }) => text)
  for (const { received, name } of history.operations) {
    const positions = received.map((text) => texts.indexOf(text))
    assert.ok(
      !positions.includes(-1),
      `${name} received a message that was not sent: ${received[positions.indexOf(-1)]?.slice(0, 50)}`
    )
    assert.ok(positions.every((at, i) => i === 0 || at > positions[i - 1]), `${name} receives in order`)
  }
  // An interrupted reader loses the batch, or the part of a message, that it has read.
  const readerLostMessages = history.operations.some(({ fiber, name }) =>
    (name === "messages" || name === "receiveFragments") && Exit.isFailure(fiber.pollUnsafe()!)
  )
  if (readerLostMessages) return
  const required = history.incoming.filter(({ end }) => end <= Math.min(history.delivered, history.closingFrom))
  for (const { text } of required) assert.ok(all.includes(text), `${nameOf(text)} arrived, and no reader got it`)
  const last = texts.findLastIndex((text) => all.includes(text))
  const missing = texts.slice(0, last + 1).filter((text) => !all.includes(text))
  assert.deepEqual(missing.map(nameOf), [], "no message is missing before the last that was received")
}

/** Checks that each ping has its pong, in both directions. */
const verifyPings = (history: History): void => {
  const { wire } = history
  const payloads = (opcode: number) =>
    wire.filter((frame) => frame.opcode === opcode).map(({ payload }) => textOf(payload))
  const pings = payloads(9)
  const delivered = history.pings.filter(({ end }) => end <= history.delivered).map(({ payload }) => payload)
  const answers = payloads(10)
  const positions = answers.map((payload) => delivered.indexOf(payload))
  assert.ok(positions.every((at, i) => at >= 0 && (i === 0 || at > positions[i - 1])), "pongs answer pings, in order")
  if (!history.wasAboveHighWaterMark) {
    const required = history.pings.filter(({ end }) => end <= Math.min(history.delivered, history.closingFrom))
    for (const { payload } of required) assert.ok(answers.includes(payload), `${payload} has a pong`)
  }
  const pongs = history.pongs.filter(({ end }) => end <= history.delivered).map(({ payload }) => pings.indexOf(payload))
  for (const { fiber, ping } of history.operations) {
    if (ping === undefined || !Exit.isSuccess(fiber.pollUnsafe()!)) continue
    assert.ok(pongs.some((at) => at >= pings.indexOf(ping)), `${ping} has a pong`)
  }
}

/** The number that a text begins with. */
export const nameOf = (text: string): string => text.slice(0, text.indexOf(":"))

export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

const endOf = (fiber: Fiber.Fiber<unknown, unknown>): string => {
  const exit = fiber.pollUnsafe()!
  return Exit.isSuccess(exit) ? "+" : Cause.hasInterruptsOnly(exit.cause) ? "!" : "-"
}

const succeeded = <A>(fiber: Fiber.Fiber<unknown, unknown>): A => {
  const exit = fiber.pollUnsafe()!
  assert.ok(Exit.isSuccess(exit))
  return exit.value as A
}
