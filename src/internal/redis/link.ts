/**
 * A connection to one Redis server that is made anew whenever it is lost.
 *
 * The package `redis` could reconnect by itself. But it does not tell which events a
 * subscription has missed meanwhile, and does not find a connection that is half open.
 */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import { steadyClock } from "../runtime/steadyClock.ts"
import { type Client, openClient } from "./client.ts"

/**
 * In milliseconds: the time between two attempts. Between these, it is a hundredth of
 * the time that the server has been away: few attempts, which make that time no longer.
 */
const maxDelay = 150
const minDelay = 25
const share = 0.01

class NotReady extends Data.Error<{ readonly message: string }> {}

export interface LinkHost {
  /** Prepares a new connection. The link is up once this has succeeded. */
  readonly prepare: (client: Client) => Effect.Effect<void, unknown>
  readonly onUp: () => void
  readonly onDown: (cause: unknown) => void
}

export interface LinkOptions {
  /** Makes a client for the server that is to be dialed now. */
  readonly dial: Effect.Effect<Client, unknown>
  /** In milliseconds: until the server has answered the first commands. */
  readonly connectTimeout: number
}

export class Link {
  /** The client, while the link is up. */
  client: Client | undefined
  /** Why the link is down. */
  cause: unknown = new Error("expected a connection, got none yet")
  private readonly options: LinkOptions
  private readonly host: LinkHost
  private current: Deferred.Deferred<never, unknown> | undefined

  constructor(options: LinkOptions, host: LinkHost) {
    this.options = options
    this.host = host
  }

  /** Ends the current connection, so that another one is made. */
  reset(cause: unknown): void {
    if (this.current !== undefined) Deferred.doneUnsafe(this.current, Exit.fail(cause))
  }

  /** Keeps the link up, until it is interrupted. */
  readonly run: Effect.Effect<never> = Effect.flatMap(steadyClock, (now) => {
    let downSince = now()
    const connection = Effect.scoped(
      Effect.flatMap(this.connect, (ended) =>
        Effect.onExit(Deferred.await(ended), () =>
          Effect.sync(() => {
            downSince = now()
          })))
    )
    const pause = Effect.suspend(() => {
      const delay = Math.max(minDelay, Math.min(maxDelay, (now() - downSince) * share))
      // Processes that lost the server at once do not dial it at once.
      return Effect.flatMap(Random.nextBetween(delay / 2, delay), (millis) => Effect.sleep(Duration.millis(millis)))
    })
    return Effect.forever(Effect.andThen(Effect.ignore(connection), pause))
  })

  /** Opens a connection in a Scope. Returns what fails when it ends. */
  private get connect() {
    return Effect.acquireRelease(
      Effect.sync(() => this.current = Deferred.makeUnsafe<never, unknown>()),
      (ended, exit) => Effect.sync(() => this.onDown(ended, exit))
    ).pipe(
      Effect.tap((ended) =>
        Effect.raceFirst(
          Effect.timeoutOrElse(this.open(ended), {
            duration: this.options.connectTimeout,
            orElse: () =>
              Effect.fail(
                new NotReady({ message: `expected a reply within ${this.options.connectTimeout} ms, got none` })
              )
          }),
          Deferred.await(ended)
        )
      ),
      Effect.tapError((cause) => Effect.sync(() => this.cause = cause))
    )
  }

  private open(ended: Deferred.Deferred<never, unknown>) {
    return openClient(this.options.dial, (cause) => Deferred.doneUnsafe(ended, Exit.fail(cause))).pipe(
      Effect.tap((client) => this.host.prepare(client)),
      Effect.map((client) => {
        this.client = client
        this.host.onUp()
      })
    )
  }

  private onDown(ended: Deferred.Deferred<never, unknown>, exit: Exit.Exit<unknown, unknown>): void {
    if (this.current === ended) this.current = undefined
    if (Exit.isFailure(exit)) {
      for (const reason of exit.cause.reasons) if (reason._tag === "Fail") this.cause = reason.error
    }
    if (this.client === undefined) return
    this.client = undefined
    this.host.onDown(this.cause)
  }
}
