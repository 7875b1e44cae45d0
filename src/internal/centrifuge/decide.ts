/** Runs effects of the program and of the broker for a client, with failures that the protocol can tell. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { BrokerUnavailable, PublishUnknown } from "../../Broker.ts"
import type { InvalidValue } from "../../ConnectionError.ts"
import type { Position } from "../../Topic.ts"
import { Code, type Disconnect, Rejected } from "../../TopicError.ts"
import type { Hub } from "../topics/hub.ts"

/** Runs an effect of the program. A defect is logged, and rejects the command. */
export const decide = <A, R>(
  effect: () => Effect.Effect<A, Rejected | Disconnect, R>
): Effect.Effect<A, Rejected | Disconnect, R> =>
  Effect.catchCauseIf(
    Effect.suspend(effect),
    (cause) => Cause.hasDies(cause),
    (cause) =>
      Effect.andThen(
        Effect.logError("an effect of a topic server died", cause),
        Effect.fail(new Rejected({ code: Code.InternalError }))
      )
  )

/** Tells the client that the broker is unavailable: it may repeat the command. */
export const unavailable = <A, E, R>(
  effect: Effect.Effect<A, E | BrokerUnavailable | PublishUnknown, R>
): Effect.Effect<A, Exclude<E, BrokerUnavailable | PublishUnknown> | Rejected, R> =>
  Effect.catchIf(
    effect,
    (error): error is Extract<E | BrokerUnavailable | PublishUnknown, BrokerUnavailable | PublishUnknown> =>
      isTagged(error, "BrokerUnavailable") || isTagged(error, "PublishUnknown"),
    (error) =>
      Effect.fail(
        isTagged(error, "PublishUnknown")
          ? new Rejected({ code: Code.PublishUnknown, reason: "unknown whether the message was published" })
          : new Rejected({ code: Code.InternalError, reason: "broker unavailable" })
      )
  ) as Effect.Effect<A, Exclude<E, BrokerUnavailable | PublishUnknown> | Rejected, R>

const isTagged = (error: unknown, tag: string): boolean =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === tag

/** A value of the program that its schema does not allow is a mistake of the server, not of the client. */
export const encoded = (bytes: Result.Result<Uint8Array, InvalidValue>): Effect.Effect<Uint8Array, Rejected> =>
  Result.isSuccess(bytes)
    ? Effect.succeed(bytes.success)
    : Effect.andThen(
      Effect.logError("a topic server cannot encode a value of the program", bytes.failure),
      Effect.fail(new Rejected({ code: Code.InternalError }))
    )

/** Clients may leave out the epoch: then it is the current one. */
export const resolvePosition = (
  hub: Hub,
  channel: string,
  { epoch = "", offset = 0 }: { readonly epoch?: string | undefined; readonly offset?: number | undefined }
): Effect.Effect<Position, Rejected> =>
  epoch !== ""
    ? Effect.succeed({ epoch, offset })
    : Effect.map(unavailable(hub.history(channel, { limit: 0 })), ({ position }) => ({ ...position, offset }))
