/** Connections that are not of this library, for code that is written against `MessageConnection`. */
import { Effect, Stream } from "effect"
import type { MessageConnection } from "effect-ws"

const unused = Effect.die(new Error("the test does not expect this operation"))

/** A connection with the given members. Each of the others dies when it is used. */
export const makeFakeConnection = (
  members: Partial<MessageConnection.MessageConnection>
): MessageConnection.MessageConnection => ({
  subprotocol: undefined,
  receive: unused,
  messages: Stream.fromEffect(unused),
  receiveWith: () => unused,
  messagesWith: () => Stream.fromEffect(unused),
  discard: unused,
  writable: unused,
  send: () => unused,
  sendAll: () => unused,
  bufferedAmount: unused,
  activity: unused,
  close: () => unused,
  fail: () => unused,
  closed: unused,
  ...members
})
