/** The state of one client of a topic server, and how it is sent to and ended. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as CloseCode from "../../CloseCode.ts"
import type { Connection } from "../../Connection.ts"
import type { ConnectionClosed } from "../../ConnectionError.ts"
import { Disconnect, DisconnectCode, reasonOf } from "../../TopicError.ts"
import type { Client } from "../../TopicServer.ts"
import type { Timer, Timers } from "../runtime/timers.ts"
import type { Outlet } from "../topics/cursor.ts"
import type { Hub } from "../topics/hub.ts"
import type { Codec } from "./codec.ts"
import { Heartbeat } from "./heartbeat.ts"
import { RateLimit } from "./rateLimit.ts"
import { Reply } from "./schema.ts"
import type { Settings } from "./serverOptions.ts"
import { Subscriptions } from "./subscriptions.ts"

/** What a session uses, and does not change. */
export interface Environment<R> {
  readonly settings: Settings<R>
  readonly connection: Connection
  readonly codec: Codec
  readonly hub: Hub
  /** Where pushes go. */
  readonly outlet: Outlet
  /** Closes when the session ends. */
  readonly scope: Scope.Scope
  readonly timers: Timers
  /** Runs an effect until the session ends. */
  readonly spawn: (effect: Effect.Effect<unknown, unknown>) => void
}

/**
 * "new" until the connect command, "connecting" while it is decided, "rejected" if it was rejected. "left": the connection has
 * ended, and only publications and data that the client has sent before are handled. "ended": the server ends the connection,
 * and nothing is handled.
 */
export type Phase = "new" | "connecting" | "rejected" | "connected" | "left" | "ended"

export class Session<R> {
  readonly environment: Environment<R>
  readonly subscriptions: Subscriptions<R>
  readonly rate: RateLimit
  readonly heartbeat: Heartbeat
  phase: Phase = "new"
  client: Client | undefined
  /** When the client must have sent its connect command, or a new token. */
  deadline: Timer | undefined
  /** Whether a command is being handled, so that further messages are unread. */
  busy = false

  constructor(environment: Environment<R>) {
    const { settings, timers } = environment
    this.environment = environment
    this.subscriptions = new Subscriptions(this)
    this.rate = new RateLimit(settings.rate, () => timers.now())
    this.heartbeat = new Heartbeat(timers, settings.pingInterval, settings.pongTimeout, {
      ping: (sent) => environment.spawn(Effect.andThen(this.send({}), Effect.sync(sent))),
      isBusy: () => this.busy,
      onTimeout: () => this.end(new Disconnect({ code: DisconnectCode.NoPong }))
    })
  }

  /** Sends a reply. Suspends while the connection has no room. */
  send(reply: Reply): Effect.Effect<void, ConnectionClosed> {
    const { codec, connection } = this.environment
    return Effect.suspend(() => connection.send(codec.encode(Reply, [reply])))
  }

  /** Ends the connection with a code of the protocol. Nothing that the client has sent is handled any more. */
  end({ code, reason = reasonOf(code) }: Disconnect): void {
    if (this.phase === "ended") return
    this.phase = "ended"
    this.stopTimers()
    const { connection, spawn } = this.environment
    // An effect of the program may have given a code or a reason that a close frame does not carry.
    spawn(Effect.catch(connection.close(code, reason), () => connection.close(DisconnectCode.ServerError)))
  }

  /** The connection has ended. A command may still wait for an effect of the program. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    if (this.phase !== "ended") this.phase = "left"
    this.stopTimers()
    return this.subscriptions.unsubscribeAll
  })

  /** The connection has ended, or is ending. */
  stopTimers(): void {
    this.environment.timers.cancel(this.deadline)
    this.heartbeat.stop()
  }

  /** Ends a connection that sends more than it may. */
  endTooLarge(): void {
    this.end(new Disconnect({ code: CloseCode.MessageTooBig, reason: "command too large" }))
  }
}
