/** Runs scripts on the server of a partition. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { Buffer } from "node:buffer"
import { ClientClosedError, ClientOfflineError, ErrorReply } from "redis"
import { buffer } from "../runtime/builtins.ts"
import { attempt, type Client, type Reply } from "./client.ts"
import type { Nodes } from "./nodes.ts"
import type { Script } from "./scripts.ts"

/** The server did not run the script. */
export class NotSent extends Data.TaggedError("NotSent")<{ readonly cause: unknown }> {}

/** The connection was lost before a reply: the server may have run the script. */
export class NoReply extends Data.TaggedError("NoReply")<{ readonly cause: unknown }> {}

/** In milliseconds: the time before a script is sent again, because its slot is on its way to another server. */
const retryDelay = 50

type Arguments = ReadonlyArray<string | Uint8Array>

export class Commands {
  private readonly nodes: Nodes
  private readonly timeout: number

  constructor(nodes: Nodes, timeout: number) {
    this.nodes = nodes
    this.timeout = timeout
  }

  /** Runs a script on keys in the partition of `tag`. */
  run(tag: string, script: Script, keys: Arguments, args: Arguments): Effect.Effect<Reply, NotSent | NoReply> {
    const rest = [String(keys.length), ...keys, ...args]
    return Effect.timeoutOrElse(this.send(tag, script, rest, 0), {
      duration: this.timeout,
      orElse: () => {
        const cause = new Error(`expected a reply within ${this.timeout} ms, got none`)
        return Effect.fail(new NoReply({ cause }))
      }
    })
  }

  private send(tag: string, script: Script, rest: Arguments, waited: number): Effect.Effect<Reply, NotSent | NoReply> {
    return Effect.suspend(() => {
      const node = this.nodes.nodeOf(tag)
      const client = node?.commands.client
      if (node === undefined || client === undefined) {
        const cause = node?.commands.cause ?? new Error("expected a master for each slot of the cluster")
        return Effect.fail(new NotSent({ cause }))
      }
      return Effect.catch(evaluate(client, script, rest), (cause) => {
        if (!isRefused(cause)) return Effect.fail(new NoReply({ cause }))
        const [code = "", , address = ""] = wordsOf(cause)
        // A replica, since a failover: another connection finds the master.
        if (code === "READONLY") node.commands.reset(cause)
        const again = waited + retryDelay
        if (!redirects.has(code) || again + retryDelay > this.timeout) return Effect.fail(new NotSent({ cause }))
        if (code === "MOVED") this.nodes.refresh()
        const retry = Effect.andThen(Effect.sleep(retryDelay), this.send(tag, script, rest, again))
        const target = code === "ASK" ? this.nodes.at(address)?.commands.client : undefined
        if (target === undefined) return retry
        return Effect.catch(
          askTo(target, script, rest),
          (refusal) => isRefused(refusal) ? retry : Effect.fail(new NoReply({ cause: refusal }))
        )
      })
    })
  }
}

/** What the servers of a cluster reply while a slot moves from one to another. */
const redirects: ReadonlySet<string> = new Set(["MOVED", "ASK", "TRYAGAIN"])

/** Sends the digest of a script, and its source if the server does not know it. */
const evaluate = (client: Client, script: Script, rest: Arguments): Effect.Effect<Reply, unknown> =>
  Effect.catch(
    command(client, ["EVALSHA", script.sha, ...rest]),
    (cause) =>
      wordsOf(cause)[0] === "NOSCRIPT"
        ? command(client, ["EVAL", script.source, ...rest])
        : Effect.fail(cause)
  )

/** Runs a script on the server that a slot is on its way to. */
const askTo = (client: Client, script: Script, rest: Arguments): Effect.Effect<Reply, unknown> =>
  Effect.map(
    Effect.all([command(client, ["ASKING"]), command(client, ["EVAL", script.source, ...rest])], {
      concurrency: "unbounded"
    }),
    ([, reply]) => reply
  )

const command = (client: Client, args: Arguments): Effect.Effect<Reply, unknown> =>
  attempt(() => client.sendCommand(args.map(toArgument)))

/** Whether a server, or the client, says that it did not run a command. */
const isRefused = (cause: unknown): boolean =>
  cause instanceof ErrorReply || cause instanceof ClientOfflineError || cause instanceof ClientClosedError ||
  cause instanceof Error && cause.message === "The queue is full"

/** The words of an error reply: a code, and in a redirect the slot and the address, such as `ASK 3999 127.0.0.1:6381`. */
const wordsOf = (cause: unknown): ReadonlyArray<string> => cause instanceof ErrorReply ? cause.message.split(" ") : []

/** `redis` takes no other bytes than a Buffer. */
const toArgument = (argument: string | Uint8Array): string | Buffer =>
  typeof argument === "string"
    ? argument
    : buffer().Buffer.from(argument.buffer, argument.byteOffset, argument.byteLength)
