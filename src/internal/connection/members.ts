/** The check that a value has the members of an interface. Its own class does not matter. */
import type { MessageConnection } from "../../MessageConnection.ts"
import { describe } from "./input.ts"

/** The members of every connection. The type makes the list complete. */
const messageConnection: Readonly<Record<keyof MessageConnection, true>> = {
  subprotocol: true,
  receive: true,
  messages: true,
  receiveWith: true,
  messagesWith: true,
  discard: true,
  writable: true,
  send: true,
  sendAll: true,
  bufferedAmount: true,
  activity: true,
  close: true,
  fail: true,
  closed: true
}

export const messageConnectionMembers: ReadonlyArray<string> = Object.keys(messageConnection)

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

export const hasMembers = (value: unknown, names: ReadonlyArray<string>): boolean =>
  isObject(value) && names.every((name) => name in value)

/** Throws a TypeError if a value lacks a member. `advice` says what to change. */
export const assertMembers = (value: unknown, type: string, names: ReadonlyArray<string>, advice = ""): void => {
  const expected = `connection: expected a ${type}, got`
  if (!isObject(value)) throw new TypeError(`${expected} ${describe(value)}`)
  const missing = names.filter((name) => !(name in value))
  if (missing.length > 0) throw new TypeError(`${expected} an object without ${missing.join(", ")}${advice}`)
}

/** What to do instead of a spread of a `Connection`. */
export const decorateAdvice =
  "; to override members, use Connection.decorate, because a spread does not copy those of a class"

/** Throws a TypeError if a value is not a `MessageConnection`. */
export const assertMessageConnection = (value: unknown): void =>
  assertMembers(value, "MessageConnection", messageConnectionMembers, decorateAdvice)
