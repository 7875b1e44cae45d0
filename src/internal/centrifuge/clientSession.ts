/** A client of topics over many connections: the one that is open, and the subscriptions that each of them resumes. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Result from "effect/Result"
import * as CloseCode from "../../CloseCode.ts"
import { ConnectionClosed, NotConnected } from "../../ConnectionError.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import * as Reconnecting from "../../Reconnecting.ts"
import { Code, DisconnectCode, isTemporary, reconnects, Rejected, type Unanswered } from "../../TopicError.ts"
import { Link } from "./clientLink.ts"
import type { ClientSubscription } from "./clientSubscription.ts"
import type { Codec } from "./codec.ts"
import type { JsonText, Push } from "./schema.ts"

/** The options of a client, with their defaults. */
export interface ClientSettings<E> {
  readonly codec: Codec
  /** Returns the token: a new one if the server has rejected the last one. */
  readonly token: Effect.Effect<string, E>
  /** Whether `token` may return another token. */
  readonly hasNewTokens: boolean
  readonly data: JsonText | undefined
  readonly name: string
  readonly version: string
  readonly timeout: Duration.Duration
  readonly pingDelay: Duration.Duration
  readonly queueSize: number
  readonly onMessage: (data: unknown) => void
  /** Runs an effect until the client is closed. */
  readonly spawn: (effect: Effect.Effect<unknown, unknown>) => void
}

/** The delay before a token is asked for again. */
const tokenRetry = Duration.seconds(5)

export class ClientSession<E> {
  readonly settings: ClientSettings<E>
  readonly subscriptions = new Map<string, ClientSubscription>()
  current: Link | undefined
  /** The reason why there are no further connections. */
  ended: NotConnected<E> | undefined
  private next = Deferred.makeUnsafe<Link, NotConnected<E>>()
  private token: string | undefined

  constructor(settings: ClientSettings<E>) {
    this.settings = settings
  }

  /** The connection that is open. Suspends until there is one. */
  readonly link: Effect.Effect<Link, NotConnected<E>> = Effect.suspend(() =>
    this.current === undefined ? Deferred.await(this.next) : Effect.succeed(this.current)
  )

  /** Prepares a new connection: connects, and resumes the subscriptions. */
  open(connection: MessageConnection): Effect.Effect<void, E | Rejected | Unanswered | ConnectionClosed, Scope.Scope> {
    return Effect.gen({ self: this }, function*() {
      const { codec, data, name, pingDelay, timeout, version } = this.settings
      const link = new Link(connection, codec)
      const token = this.token ??= yield* this.settings.token
      yield* Effect.tapErrorTag(
        link.connect({ token: token === "" ? undefined : token, data, name, version }, timeout),
        "Rejected",
        () => this.forgetToken
      )
      this.current = link
      yield* link.run({ onPush: (push) => this.onPush(link, push), onEnd: () => this.onEnd(link) }, pingDelay)
      if (link.info.expires === true) yield* Effect.forkScoped(this.refresh(link, link.info.ttl ?? 1))
      if (this.current !== link) return
      Deferred.doneUnsafe(this.next, Exit.succeed(link))
      for (const subscription of this.subscriptions.values()) subscription.begin()
    })
  }

  /** There are no further connections. */
  finish(cause: unknown): void {
    if (this.ended !== undefined) return
    this.ended = new NotConnected<E>({ final: true, cause: cause as E })
    this.current = undefined
    if (!Deferred.doneUnsafe(this.next, Exit.fail(this.ended))) {
      this.next = Deferred.makeUnsafe()
      Deferred.doneUnsafe(this.next, Exit.fail(this.ended))
    }
    for (const subscription of this.subscriptions.values()) subscription.abandon()
  }

  /** Whether a failure closes the client. */
  readonly isFinal = (failure: Reconnecting.Failure<unknown>): boolean => {
    if (failure instanceof Rejected) {
      return failure.code === Code.TokenExpired ? !this.settings.hasNewTokens : !isTemporary(failure)
    }
    if (failure instanceof ConnectionClosed) {
      return !reconnects(failure.code) || failure.code === CloseCode.MessageTooBig
    }
    return Reconnecting.isFinal(failure)
  }

  private readonly forgetToken: Effect.Effect<void> = Effect.sync(() => {
    if (this.settings.hasNewTokens) this.token = undefined
  })

  private onEnd(link: Link): void {
    if (this.current !== link) return
    this.current = undefined
    this.next = Deferred.makeUnsafe()
    for (const subscription of this.subscriptions.values()) subscription.lost()
  }

  private onPush(link: Link, push: Push): void {
    if (push.disconnect !== undefined) {
      const { code = DisconnectCode.ConnectionClosed, reason = "" } = push.disconnect
      this.settings.spawn(link.connection.close(code, reason))
    } else if (push.message !== undefined) {
      const data = link.payload(push.message.data)
      if (Result.isSuccess(data)) this.settings.onMessage(data.success)
    } else if (push.channel !== undefined) this.subscriptions.get(push.channel)?.onPush(link, push)
  }

  /** Sends a new token before the old one expires. If the server rejects it, the connection ends, and a new one gets a new token. */
  private refresh(link: Link, seconds: number): Effect.Effect<void> {
    const renew = Effect.andThen(
      this.forgetToken,
      Effect.flatMap(this.settings.token, (token) => {
        this.token = token
        return link.call({ refresh: { token } }, this.settings.timeout)
      })
    )
    return Effect.sleep(Duration.seconds(seconds)).pipe(
      Effect.andThen(Effect.result(renew)),
      Effect.flatMap((result) => {
        if (Result.isSuccess(result)) {
          const { expires = false, ttl = 1 } = result.success.refresh ?? {}
          return expires ? this.refresh(link, ttl) : Effect.void
        }
        return result.failure instanceof Rejected && !isTemporary(result.failure)
          ? Effect.andThen(
            this.forgetToken,
            Effect.ignore(link.connection.close(DisconnectCode.Expired, "token rejected"))
          )
          : this.refresh(link, Duration.toSeconds(tokenRetry))
      })
    )
  }
}
