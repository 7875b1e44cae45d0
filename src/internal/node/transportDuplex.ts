/** A Node stream over a transport, for the HTTP of a handshake in memory. */
import { constVoid } from "effect/Function"
import type { Duplex } from "node:stream"
import type { Transport } from "../../Transport.ts"
import { stream } from "../runtime/builtins.ts"

export const transportDuplex = (transport: Transport): Duplex => {
  let onDrain: () => void = constVoid
  const duplex = new (stream().Duplex)({
    read: () => transport.resume(),
    write: (chunk: Uint8Array, _encoding, callback) => {
      if (transport.write([chunk])) callback()
      else onDrain = callback
    },
    final: (callback) => {
      transport.end()
      callback()
    },
    destroy: (error, callback) => {
      transport.destroy()
      callback(error)
    }
  })
  transport.start({
    onData: (chunk) => {
      if (!duplex.push(Uint8Array.from(chunk))) transport.pause()
    },
    onDrain: () => onDrain(),
    onEnd: () => duplex.push(null),
    onClose: (error) => {
      if (error === undefined) duplex.destroy()
      else duplex.destroy(Object.assign(new Error(error.cause.message), { code: error.code }))
    }
  })
  return duplex
}
