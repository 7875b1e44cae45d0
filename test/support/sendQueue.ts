/** The parts of a connection, apart from it, over a network that the test drives. */
import { Context, Effect } from "effect"
import { Frame } from "effect-ws"
import { Pings } from "../../src/internal/connection/pings.ts"
import { type controlToken, SendQueue } from "../../src/internal/connection/sendQueue.ts"
import { Protocol } from "../../src/internal/protocol/connectionProtocol.ts"
import { Timers } from "../../src/internal/runtime/timers.ts"
import { ConnectionMetrics } from "../../src/internal/telemetry/metrics.ts"
import { makeNetwork } from "../fuzz/transport.ts"
import { parse } from "../fuzz/wire.ts"

/** Makes a send queue and pings. `context` has the Clock of the timers. */
export const makeSendQueue = (
  options: {
    readonly role?: Frame.Role
    readonly highWaterMark?: number
    readonly coalesce?: boolean
    /** What the transport tells as `eager`. */
    readonly isEager?: boolean
    readonly context?: Context.Context<never>
  } = {}
) => {
  const { coalesce = false, context = Context.empty(), highWaterMark = 10, isEager = false, role = "server" } = options
  const network = makeNetwork(highWaterMark)
  const codec = Frame.makeCodec()
  const protocol = new Protocol(role, codec, {})
  /** The calls of the host, in order. */
  const calls: Array<string> = []
  const host = {
    metrics: ConnectionMetrics.of(context, role),
    timers: Timers.of(context),
    onHighWaterMark: () => void calls.push("onHighWaterMark"),
    onBlocked: () => void calls.push("onBlocked"),
    onNoneWaiting: () => void calls.push("onNoneWaiting"),
    onObserved: () => void calls.push("onObserved")
  }
  const maskKey = role === "client" ? codec.maskKey : undefined
  const transport = { ...network.transport, eager: () => isEager }
  const sendQueue = new SendQueue(host, transport, protocol, { coalesce, maskKey })
  const pings = new Pings(host, sendQueue, 4)
  const onDrain = () => {
    sendQueue.onDrain()
    pings.onDrain()
  }
  network.transport.start({ onData: () => {}, onDrain, onEnd: () => {}, onClose: () => {} })
  const send = (text: string, token?: object | typeof controlToken) =>
    sendQueue.send(() => Effect.sync(() => sendQueue.write(Frame.text(text))), token)
  /** The frames that were written. */
  const frames = () => parse(Buffer.concat(network.writes), role).frames
  const wire = () => frames().map(({ payload }) => Buffer.from(payload).toString())
  /** The same for pings and pongs, with their kind. */
  const controlFrames = () =>
    frames().map(({ opcode, payload }) => `${opcode === 9 ? "ping" : "pong"} ${Buffer.from(payload).toString()}`)
  const end = () => {
    protocol.close({ code: 1000, reason: "" })
    sendQueue.close()
  }
  return { calls, network, protocol, host, sendQueue, pings, send, frames, wire, controlFrames, end }
}

/** The same, with the Clock of the test. */
export const makeSendQueueWithClock = (options?: Parameters<typeof makeSendQueue>[0]) =>
  Effect.map(Effect.context<never>(), (context) => makeSendQueue({ ...options, context }))
