/** Connections made from other connections, and the check that a value is one. */
import type { Connection } from "../../Connection.ts"
import { broadcastTarget, type Hooks, hooksOf, relayPort, stopReceiving } from "./hooks.ts"
import { assertMembers, decorateAdvice, hasMembers } from "./members.ts"

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
  get bufferedAmount() {
    return connection.bufferedAmount
  },
  get activity() {
    return connection.activity
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

const connectionMembers: ReadonlyArray<string> = Object.keys(delegate({} as Connection, {}))

export const isConnection = (value: unknown): value is Connection => hasMembers(value, connectionMembers)

/** Throws a TypeError if a value is not a connection. */
export const assertConnection = (value: unknown): void =>
  assertMembers(
    value,
    "Connection",
    connectionMembers,
    decorateAdvice
  )
