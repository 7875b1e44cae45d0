/** The exchanges of test/interop over HTTP/2: a client of Node's HTTP/2 against our server, with equal results. */
import { Effect } from "effect"
import { PerMessageDeflate } from "effect-ws"
import { interop, makeEnds } from "../../interop/exchanges.ts"
import { connectHttp2 } from "../../support/http2Client.ts"
import { obey } from "../../support/obey.ts"

const peerOver = (http2: "tls" | "cleartext") => ({
  title: `node:http2 of Node ${process.versions.node}, ${http2}`,
  roles: ["client"] as const,
  start: Effect.sync(() => {
    const { ended, report } = makeEnds()
    return {
      ended,
      http2,
      connect: (url: string, protocols: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          const connection = yield* connectHttp2(url, { protocols, extensions: [PerMessageDeflate.make()] })
          const path = new URL(url).pathname
          yield* Effect.forkScoped(Effect.andThen(
            Effect.ignore(obey(connection)),
            Effect.map(connection.closed, ({ code, reason }) => report(path, code, reason))
          ))
        })
    }
  })
})

interop(peerOver("cleartext"))
interop(peerOver("tls"))
