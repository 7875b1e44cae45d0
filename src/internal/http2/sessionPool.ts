/**
 * The HTTP/2 sessions of a client, by server. A server has a further session only
 * while its others have no room for a stream: a connection may stay open for days,
 * so that waiting for room is no alternative.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Duplex } from "node:stream"
import type { Timers } from "../runtime/timers.ts"
import type { ClientSession } from "./clientSession.ts"
import { Fallbacks } from "./fallbacks.ts"
import { type Opened, Opening, type Way } from "./opening.ts"

/** A fiber that needs a session. */
export interface Opener<Progress, E> {
  /** Describes how to open a session, and what the fibers that wait for it want to know. */
  readonly begin: () => { readonly progress: Progress; readonly open: Effect.Effect<Opened, E> }
  /** The fiber waits for a session that is being opened. */
  readonly onWait: (progress: Progress) => void
  /** Takes a socket that can carry one HTTP/1.1 request. */
  readonly own: (socket: Duplex) => void
}

/** The sessions with one server. */
class Server<Progress, E> {
  readonly sessions = new Set<ClientSession>()
  opening: Opening<Progress, E> | undefined
  /** Fibers that wait until a session has room or is over. */
  readonly watchers = new Set<() => void>()

  get isUnused(): boolean {
    return this.sessions.size === 0 && this.opening === undefined && this.watchers.size === 0
  }

  get changed(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const watcher = () => {
        this.watchers.delete(watcher)
        resume(Effect.void)
      }
      this.watchers.add(watcher)
      return Effect.sync(() => this.watchers.delete(watcher))
    })
  }

  /** The session that a request is sent over; undefined if a further one is needed. */
  find(): ClientSession | undefined {
    let blocked: ClientSession | undefined
    for (const session of this.sessions) {
      if (session.hasRoom) return session
      if (session.isBlocked) blocked = session
    }
    return blocked
  }
}

export class SessionPool<Progress, E> {
  readonly fallbacks: Fallbacks
  readonly timers: Timers
  readonly idleMillis: number
  private readonly servers = new Map<string, Server<Progress, E>>()

  constructor(timers: Timers, idleMillis: number) {
    this.timers = timers
    this.idleMillis = idleMillis
    this.fallbacks = new Fallbacks(timers)
  }

  /** Returns a session that has room for a request, or what else the server offers. */
  acquire(key: string, opener: Opener<Progress, E>): Effect.Effect<Way, E, Scope.Scope> {
    return Effect.suspend((): Effect.Effect<Way, E, Scope.Scope> => {
      const server = this.serverOf(key)
      const session = server.find()
      if (session === undefined) return this.join(key, server, opener)
      return session.hasRoom
        ? Effect.succeed({ _tag: "Session", session })
        : Effect.andThen(
          Effect.ensuring(server.changed, Effect.sync(() => this.tidy(key, server))),
          this.acquire(key, opener)
        )
    })
  }

  private serverOf(key: string): Server<Progress, E> {
    const known = this.servers.get(key)
    if (known !== undefined) return known
    const server = new Server<Progress, E>()
    this.servers.set(key, server)
    return server
  }

  private tidy(key: string, server: Server<Progress, E>): void {
    if (server.isUnused && this.servers.get(key) === server) this.servers.delete(key)
  }

  /** Waits for the session that is being opened. Others may have taken its room. */
  private join(
    key: string,
    server: Server<Progress, E>,
    opener: Opener<Progress, E>
  ): Effect.Effect<Way, E, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const { opening } = server
        return opening === undefined || opening.isGivenUp
          ? this.startOpening(key, server, opener)
          : Effect.succeed(opening)
      }).pipe(
        Effect.flatMap((opening) => {
          opener.onWait(opening.progress)
          return opening.join(restore, opener.own)
        }),
        Effect.flatMap((way) =>
          way._tag === "Session" && !way.session.hasRoom && !way.session.isOver
            ? restore(this.acquire(key, opener))
            : Effect.succeed(way)
        )
      )
    )
  }

  private startOpening(
    key: string,
    server: Server<Progress, E>,
    { begin }: Opener<Progress, E>
  ): Effect.Effect<Opening<Progress, E>> {
    const { open, progress } = begin()
    const opening = new Opening<Progress, E>(progress)
    server.opening = opening
    const start = opening.start(open, (exit) => {
      if (server.opening === opening) server.opening = undefined
      if (Exit.isSuccess(exit) && exit.value._tag === "Session") this.add(key, server, exit.value.session)
      this.tidy(key, server)
    })
    return Effect.as(start, opening)
  }

  private add(key: string, server: Server<Progress, E>, session: ClientSession): void {
    server.sessions.add(session)
    session.onChange = () => {
      if (session.isClosed) server.sessions.delete(session)
      for (const watcher of server.watchers) watcher()
      this.tidy(key, server)
    }
  }

  /** Closes all sessions with their streams, and gives up those that are being opened. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const servers = [...this.servers.values()]
      return Effect.forEach(servers, ({ opening, sessions }) =>
        Effect.andThen(
          opening === undefined ? Effect.void : opening.giveUp,
          Effect.forEach([...sessions], (session) => session.destroy, { discard: true })
        ), { discard: true })
    })
  }
}
