/** Connections made from other connections, and the check that a value is one. */
import type { Connection } from "../../Connection.ts"
import { broadcastTarget, type Hooks, hooksOf, relayPort, stopReceiving } from "./hooks.ts"

/**
 * A connection with the members of another one. They are own properties, so that
 * a spread copies them, and each is read when it is used.
 */
const delegate = (connection: Connection, overrides: Partial<Connection>): Connection & Hooks => ({
  get role() {
    return connection.role
  },
  get request() {
    return connection.request
  },
  get responseHeaders() {
    return connection.responseHeaders
  },
  get rawResponseHeaders() {
    return connection.rawResponseHeaders
  },
  get subprotocol() {
    return connection.subprotocol
  },
  get extensions() {
    return connection.extensions
  },
  get receive() {
    return connection.receive
  },
  get messages() {
    return connection.messages
  },
  get receiveWith() {
    return connection.receiveWith
  },
  get messagesWith() {
    return connection.messagesWith
  },
  get receiveFragments() {
    return connection.receiveFragments
  },
  get frames() {
    return connection.frames
  },
  get discard() {
    return connection.discard
  },
  get writable() {
    return connection.writable
  },
  get send() {
    return connection.send
  },
  get sendAll() {
    return connection.sendAll
  },
  get sendFragments() {
    return connection.sendFragments
  },
  get sendFrame() {
    return connection.sendFrame
  },
  get ping() {
    return connection.ping
  },
  get close() {
    return connection.close
  },
  get fail() {
    return connection.fail
  },
  get terminate() {
    return connection.terminate
  },
  get closed() {
    return connection.closed
  },
  get stats() {
    return connection.stats
  },
  get [stopReceiving]() {
    const stop = hooksOf(connection)[stopReceiving]
    return stop && (() => stop.call(connection))
  },
  get [broadcastTarget]() {
    return isOverridden(overrides, "send", "sendAll") ? undefined : hooksOf(connection)[broadcastTarget]
  },
  get [relayPort]() {
    return isOverridden(overrides, "frames", "sendFrame", "terminate") ? undefined : hooksOf(connection)[relayPort]
  }
})

/** A hook must not bypass an overridden member that does the same. */
const isOverridden = (overrides: Partial<Connection>, ...members: ReadonlyArray<keyof Connection>): boolean =>
  members.some((member) => member in overrides)

export const decorate = (connection: Connection, overrides: Partial<Connection>): Connection =>
  Object.defineProperties(delegate(connection, overrides), Object.getOwnPropertyDescriptors(overrides))

/** The members of a connection that a value does not have. */
const missingMembers = (value: object): ReadonlyArray<string> =>
  Object.keys(delegate(value as Connection, {})).filter((name) => !(name in value))

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null

export const isConnection = (value: unknown): value is Connection =>
  isObject(value) && missingMembers(value).length === 0

/** Throws a TypeError if a value is not a connection. */
export const assertConnection = (value: unknown): void => {
  if (!isObject(value)) throw new TypeError(`connection: expected a Connection, got ${String(value)}`)
  const missing = missingMembers(value)
  if (missing.length === 0) return
  throw new TypeError(
    `connection: expected a Connection, got an object without ${missing.join(", ")}; ` +
      "to override members, use Connection.decorate, because a spread does not copy those of a class"
  )
}
