/** Ports for programs that need a port number. */
import { Effect, Exit, Scope } from "effect"
import * as Net from "node:net"
import type { Program } from "./process.ts"

/** A port that was free a moment ago. */
const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** Whether a program listens on a port. */
const isOpen = (port: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    const done = (open: boolean) => {
      socket.destroy()
      resume(Effect.succeed(open))
    }
    socket.on("connect", () => done(true))
    socket.on("error", () => done(false))
  })

/** Starts a program on a free port, and waits until it listens. Tries another port if it ends before that. */
export const listening = <R>(
  start: (port: number) => Effect.Effect<Program, never, R>,
  attempts = 5,
  choosePort = freePort
): Effect.Effect<Program & { readonly port: number }, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const port = yield* choosePort
    const scope = yield* Scope.fork(yield* Effect.scope)
    const program = yield* Scope.provide(start(port), scope)
    const ready = Effect.repeat(Effect.delay(isOpen(port), "10 millis"), { until: (open) => open })
    const open = yield* Effect.raceFirst(ready, Effect.as(program.ended, false))
    if (open) return { ...program, port }
    yield* Scope.close(scope, Exit.void)
    return yield* attempts > 1 ? listening(start, attempts - 1, choosePort) : Effect.die(new Error(program.output()))
  })
