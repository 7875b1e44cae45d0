/** A client's side of one connection: commands with their replies, pushes, pings. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type ConnectionClosed, KeepaliveTimeout } from "../../ConnectionError.ts"
import type { Message } from "../../Message.ts"
import type { MessageConnection } from "../../MessageConnection.ts"
import { DisconnectCode, reasonOf, Rejected, Unanswered } from "../../TopicError.ts"
import type { ValueCodec } from "../topics/codec.ts"
import type { Codec } from "./codec.ts"
import { serverVersion } from "./extensions.ts"
import { Command, type ConnectRequest, type ConnectResult, type Push, Reply } from "./schema.ts"

/** The connection limits the size of messages. */
const bounds = { maxSize: Number.POSITIVE_INFINITY, maxCount: Number.POSITIVE_INFINITY }

/** Told of the events of a connection, each in the turn in which it arrives. */
export interface LinkListener {
  readonly onPush: (push: Push) => void
  readonly onEnd: () => void
}

/** Receives the reply to a command, or undefined once the connection is lost. */
export type Callback = (reply: Reply | undefined) => void

export class Link {
  readonly connection: MessageConnection
  private readonly codec: Codec
  private readonly pending = new Map<number, Callback>()
  private lastId = 0
  private ended = false
  private received = 0
  /** What the server has told about the connection. */
  info: ConnectResult = {}

  constructor(connection: MessageConnection, codec: Codec) {
    this.connection = connection
    this.codec = codec
  }

  /** Whether the server understands our extensions of the protocol. */
  get isOurs(): boolean {
    return this.info.version === serverVersion
  }

  // -- commands --------------------------------------------------------------

  /** Sends commands in one message. Each callback is called once, in the turn in which the reply arrives. */
  submit(
    requests: ReadonlyArray<readonly [command: Command, callback: Callback]>
  ): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => {
      const commands = requests.map(([command, callback]) => ({ id: this.expect(callback), ...command }))
      return this.connection.send(this.codec.encode(Command, commands))
    })
  }

  /** Sends a command, and returns the reply. */
  call(command: Command, timeout: Duration.Duration): Effect.Effect<Reply, Rejected | Unanswered> {
    return Effect.suspend(() => {
      const failed = (reason: Unanswered["reason"]): Effect.Effect<never, Rejected | Unanswered> =>
        Effect.fail(new Unanswered({ command: Object.keys(command)[0]!, reason }))
      const answer = Deferred.makeUnsafe<Reply | undefined>()
      const id = this.expect((reply) => void Deferred.doneUnsafe(answer, Exit.succeed(reply)))
      return this.connection.send(this.codec.encode(Command, [{ id, ...command }])).pipe(
        Effect.andThen(Deferred.await(answer)),
        Effect.catchTag("ConnectionClosed", () => failed("ConnectionLost")),
        Effect.flatMap((reply): Effect.Effect<Reply, Rejected | Unanswered> =>
          reply === undefined ? failed("ConnectionLost") : toResult(reply)
        ),
        Effect.timeoutOrElse({ duration: timeout, orElse: () => failed("Timeout") }),
        Effect.ensuring(Effect.sync(() => this.pending.delete(id)))
      )
    })
  }

  /** Returns the id of a new command. The callback is given its reply. */
  private expect(callback: Callback): number {
    const id = ++this.lastId
    if (this.ended) callback(undefined)
    else this.pending.set(id, callback)
    return id
  }

  /** Sends a command that takes no reply. */
  send(command: Command): Effect.Effect<void, ConnectionClosed> {
    return Effect.suspend(() => this.connection.send(this.codec.encode(Command, [command])))
  }

  payload(decoded: unknown): Result.Result<unknown, unknown> {
    return this.codec.payload(decoded)
  }

  /** Decodes a value of a topic. */
  decode<A>(codec: ValueCodec<A>, decoded: unknown): Option.Option<A> {
    const json = this.codec.payload(decoded)
    return Result.isFailure(json) ? Option.none() : codec.decodeJson(json.success)
  }

  // -- opening ---------------------------------------------------------------

  /** Connects, before anything else is sent. */
  connect(
    request: ConnectRequest,
    timeout: Duration.Duration
  ): Effect.Effect<void, Rejected | Unanswered | ConnectionClosed> {
    let answer: Reply | undefined
    const receive: Effect.Effect<Reply, ConnectionClosed | Rejected> = Effect.flatMap(
      this.connection.receive,
      (message) => {
        this.read(message, ignoring)
        return answer === undefined ? receive : toResult(answer)
      }
    )
    return Effect.andThen(
      this.submit([[{ connect: request }, (reply) => {
        answer = reply
      }]]),
      Effect.timeoutOrElse(receive, {
        duration: timeout,
        orElse: () => Effect.fail(new Unanswered({ command: "connect", reason: "Timeout" }))
      })
    ).pipe(Effect.map(({ connect = {} }) => {
      this.info = connect
    }))
  }

  /** Reads until the connection ends. */
  run(listener: LinkListener, pingDelay: Duration.Duration): Effect.Effect<void, never, Scope.Scope> {
    const reading = Stream.runForEach(this.connection.messages, (message) => {
      const isPing = this.read(message, listener)
      return isPing === undefined
        ? Effect.ignore(this.connection.close(DisconnectCode.BadRequest, "bad protocol"))
        : isPing && this.info.pong === true
        ? this.send({})
        : Effect.void
    })
    return Effect.andThen(
      Effect.forkScoped(Effect.ensuring(Effect.ignore(reading), Effect.sync(() => this.end(listener)))),
      this.info.ping === undefined ? Effect.void : Effect.forkScoped(this.watch(this.info.ping, pingDelay))
    )
  }

  /** Fails the connection if the server has sent nothing for longer than it promised. */
  private watch(pingSeconds: number, delay: Duration.Duration): Effect.Effect<void> {
    const duration = Duration.sum(Duration.seconds(pingSeconds), delay)
    return Effect.suspend(() => {
      const before = this.received
      return Effect.andThen(
        Effect.sleep(duration),
        Effect.flatMap(this.connection.activity, ({ isPaused }) =>
          this.received !== before || isPaused
            ? this.watch(pingSeconds, delay)
            : this.fail(duration))
      )
    })
  }

  /** Ends a connection after the server was silent for too long. */
  fail(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.asVoid(this.connection.fail(new KeepaliveTimeout({ duration })))
  }

  private end(listener: LinkListener): void {
    this.ended = true
    const waiting = [...this.pending.values()]
    this.pending.clear()
    for (const callback of waiting) callback(undefined)
    listener.onEnd()
  }

  /** Reads a message. Returns whether it has a ping, or undefined if it is malformed. */
  private read(message: Message, listener: Pick<LinkListener, "onPush">): boolean | undefined {
    this.received++
    const replies = this.codec.decode(Reply, message, bounds)
    if (Result.isFailure(replies)) return undefined
    let isPing = false
    for (const reply of replies.success) {
      if ((reply.id ?? 0) !== 0) this.settle(reply)
      else if (reply.push === undefined) isPing = true
      else listener.onPush(reply.push)
    }
    return isPing
  }

  private settle(reply: Reply): void {
    const waiting = this.pending.get(reply.id!)
    this.pending.delete(reply.id!)
    waiting?.(reply)
  }
}

/** There are no pushes before the connection is accepted. */
const ignoring = { onPush: () => {} }

/** Returns the error of a reply, if it has one. */
export const rejectionOf = ({ error }: Reply): Rejected | undefined => {
  if (error === undefined) return undefined
  const { code = 0, message = reasonOf(code), temporary = false } = error
  return new Rejected({ code, reason: message, temporary })
}

const toResult = (reply: Reply): Effect.Effect<Reply, Rejected> => {
  const rejection = rejectionOf(reply)
  return rejection === undefined ? Effect.succeed(reply) : Effect.fail(rejection)
}
