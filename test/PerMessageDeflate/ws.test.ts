/** permessage-deflate with the implementation of ws at the other end. */
import { describe, it } from "@effect/vitest"
import { Arbitrary, Effect } from "effect"
import { type Extension, Frame, PerMessageDeflate } from "effect-ws"
import * as Ws from "ws"
import {
  anyOptions,
  anySent,
  assertSameBytes,
  decode,
  encode,
  framesOf,
  openClient,
  parameters,
  rsv1
} from "../support/deflate.ts"

/** The permessage-deflate of ws, which ws exports without declaring it. */
interface WsDeflate {
  readonly accept: (offers: ReadonlyArray<Record<string, ReadonlyArray<string | true>>>) => object
  readonly compress: (data: Uint8Array, fin: boolean, callback: (error: Error | null, data: Buffer) => void) => void
  readonly decompress: (data: Uint8Array, fin: boolean, callback: (error: Error | null, data: Buffer) => void) => void
  readonly cleanup: () => void
}
const { PerMessageDeflate: WsPerMessageDeflate } = Ws as unknown as {
  readonly PerMessageDeflate: new(options: { readonly isServer: boolean }) => WsDeflate
}

const wsParameters = (list: Extension.Parameters) =>
  Object.fromEntries(list.map(({ name, value }) => [name, [value ?? true as const]]))

const throughWs = (deflate: WsDeflate, direction: "compress" | "decompress", data: Uint8Array, fin: boolean) =>
  Effect.callback<Uint8Array>((resume) =>
    deflate[direction](data, fin, (error, result) => {
      resume(error === null || error === undefined ? Effect.succeed(result) : Effect.die(error))
    })
  )

/** Negotiates with ws as the server or the client, and returns the session of this library's end. */
const negotiate = (ours: Extension.Extension, theirs: WsDeflate, isServer: boolean) => {
  if (isServer) {
    const response = theirs.accept(ours.offers.map(wsParameters)) as Record<string, unknown>
    const text = Object.entries(response).map(([name, value]) => value === true ? name : `${name}=${value}`)
    return openClient(ours, text.join(";"))
  }
  const accepted = ours.accept(parameters("client_max_window_bits"))!
  theirs.accept([wsParameters(accepted.parameters)])
  return accepted.open
}

describe("with ws at the other end", () => {
  for (const isServer of [true, false]) {
    it.effect.prop(
      `messages arrive unchanged in both directions, with ws as the ${isServer ? "server" : "client"}`,
      { options: anyOptions, messages: Arbitrary.array(anySent, { maxLength: 5 }) },
      ({ messages, options }) =>
        Effect.gen(function*() {
          const theirs = yield* Effect.acquireRelease(
            Effect.sync(() => new WsPerMessageDeflate({ isServer })),
            (deflate) => Effect.sync(() => deflate.cleanup())
          )
          const session = yield* negotiate(PerMessageDeflate.make({ ...options, threshold: 0 }), theirs, isServer)
          for (const { cuts, payload } of messages) {
            const frames = framesOf({ payload, cuts, compress: true })
            const received: Array<Uint8Array> = []
            let isUncompressed = false
            for (const frame of frames) {
              const out = yield* encode(session, frame)
              if (out.opcode !== Frame.Opcode.Continuation) isUncompressed = out.reserved === 0
              received.push(isUncompressed ? out.payload : yield* throughWs(theirs, "decompress", out.payload, out.fin))
            }
            assertSameBytes(Buffer.concat(received), payload)
            const returned: Array<Uint8Array> = []
            for (const [i, { fin, opcode, payload: part }] of frames.entries()) {
              const data = yield* throughWs(theirs, "compress", part, fin)
              const decoded = yield* decode(session, new Frame.Frame(opcode, data, fin, i === 0 ? rsv1 : 0))
              returned.push(decoded.payload)
            }
            assertSameBytes(Buffer.concat(returned), payload)
          }
        }).pipe(Effect.scoped),
      { arbitrary: { runs: 50 } }
    )
  }
})
