/** permessage-deflate on its own: sessions of both ends, and what they answer. */
import { Effect, type Scope } from "effect"
import { Extension, Frame, PerMessageDeflate } from "effect-ws"

export const noLimit: Extension.SizeBudget = { used: 0, limit: Number.POSITIVE_INFINITY }

/** A header's parameters, as of one extension. */
export const parameters = (header: string): Extension.Parameters =>
  Extension.parse(`x${header === "" ? "" : ";"}${header}`)![0].parameters

/** Parameters as they stand in a header. */
export const formatted = (list: Extension.Parameters): string =>
  Extension.format([{ name: "x", parameters: list }]).slice(3)

/** The session that a server opens for an offer. */
export const openServer = (
  extension: Extension.Extension,
  offer = ""
): Effect.Effect<Extension.Session, never, Scope.Scope> => {
  const accepted = extension.accept(parameters(offer))
  if (accepted === undefined) throw new Error(`declined: ${offer}`)
  return accepted.open
}

/** The session that a client opens after an answer. */
export const openClient = (
  extension: Extension.Extension,
  answer = ""
): Effect.Effect<Extension.Session, never, Scope.Scope> => {
  const confirmed = extension.confirm(parameters(answer))
  if (typeof confirmed === "string") throw new Error(confirmed)
  return confirmed
}

export interface Ends {
  readonly client: Extension.Session
  readonly server: Extension.Session
  /** What was agreed on. */
  readonly answer: string
}

/** Both ends, after their negotiation. */
export const openBoth = (
  clientOptions: PerMessageDeflate.Options = {},
  serverOptions: PerMessageDeflate.Options = {}
): Effect.Effect<Ends, never, Scope.Scope> =>
  Effect.suspend(() => {
    const client = PerMessageDeflate.make(clientOptions)
    const [accepted] = Extension.accept([PerMessageDeflate.make(serverOptions)], Extension.offer([client]))
    const confirmed = client.confirm(accepted.entry.parameters)
    if (typeof confirmed === "string") throw new Error(confirmed)
    return Effect.all({
      client: confirmed,
      server: accepted.open,
      answer: Effect.succeed(formatted(accepted.entry.parameters))
    })
  })

export const encode = (
  session: Extension.Session,
  frame: Frame.Frame,
  options: Extension.SendOptions = {}
): Effect.Effect<Frame.Frame> => {
  const answer = session.encode(frame, options)
  return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
}

/** An error is an Effect that fails with it. */
export const decode = (
  session: Extension.Session,
  frame: Frame.Frame,
  room = noLimit
): Effect.Effect<Frame.Frame, Extension.DecodeError> => {
  const answer = session.decode(frame, room)
  return answer instanceof Frame.Frame ? Effect.succeed(answer) : answer
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
