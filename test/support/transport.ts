/** Records the events of a transport. */
import type { ConnectionError, Transport } from "effect-ws"

/** Starts a transport, and records what it delivers and reports. */
export const record = (transport: Transport.Transport) => {
  const events: Array<string> = []
  const chunks: Array<Uint8Array> = []
  let error: ConnectionError.TransportError | undefined
  transport.start({
    onData: (chunk) => {
      events.push(`data ${Buffer.from(chunk).toString("latin1")}`)
      chunks.push(Uint8Array.from(chunk))
    },
    onDrain: () => events.push("drain"),
    onEnd: () => events.push("end"),
    onClose: (reason) => {
      error = reason
      events.push("close")
    }
  })
  return { events, chunks, error: () => error }
}

export const bytes = (text: string) => new TextEncoder().encode(text)
