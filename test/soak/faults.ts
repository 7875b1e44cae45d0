/** What the server under the soak can be made to do wrong, to see that it is found: `--fault` names one. */
import type { Message } from "effect-ws"
import { openSync, watch } from "node:fs"

export interface Fault {
  /** For each connection, what the server takes for having come of what has come, which is counted from 0. */
  readonly messages?: () => (message: Message.Message, sequence: number) => ReadonlyArray<Message.Message>
  /** What happens with each connection. */
  readonly connection?: () => void
  /** Whether silence, and what is not read, is put up with. */
  readonly lenient?: boolean
}

const kept: Array<unknown> = []
const never = new Int32Array(new SharedArrayBuffer(4))
/** One of the messages that are sent without waiting for the answers to those before. */
const unlucky = 120

export const faults: Readonly<Record<string, Fault>> = {
  lose: { messages: () => (message, sequence) => sequence === unlucky ? [] : [message] },
  double: { messages: () => (message, sequence) => sequence === unlucky ? [message, message] : [message] },
  reorder: {
    messages: () => {
      let held: Array<Message.Message> = []
      return (message, sequence) => {
        const together = [message, ...held]
        held = sequence === unlucky ? together : []
        return sequence === unlucky ? [] : together
      }
    }
  },
  "leak memory": { connection: () => void kept.push(Buffer.alloc(200_000, 1)) },
  "leak handles": { connection: () => void kept.push(watch("/tmp")) },
  "leak descriptors": { connection: () => void kept.push(openSync("/dev/null", "r")) },
  block: {
    messages: () => (message, sequence) => {
      // Twice in the hundred that are timed.
      if (sequence === 10 || sequence === 20) Atomics.wait(never, 0, 0, 1100)
      return [message]
    }
  },
  "be lenient": { lenient: true },
  die: { connection: () => process.exit(3) }
}
