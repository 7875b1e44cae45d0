/** Each operation, interrupted at each of its steps: no message is lost, repeated or incomplete, and the connection stays usable. */
import { assert, describe, it } from "@effect/vitest"
import { Channel, Effect, Exit, Fiber, Stream } from "effect"
import { Connection, Frame, Transport } from "effect-ws"
import { contentOf, makeRaw, settle, type Shape } from "../support/memory.ts"
import type { MemoryPeer } from "../../src/internal/memory/peer.ts"
import { interruptAtEachStep } from "../support/interruptAtEachStep.ts"

const textsOf = (frames: ReadonlyArray<Frame.Frame>) =>
  frames.map((frame) => Buffer.from(frame.payload).toString("utf8"))

/** The connection still receives and sends. */
const stillUsable = (connection: Shape, peer: MemoryPeer) =>
  Effect.gen(function*() {
    peer.send(Frame.text("to it"))
    assert.strictEqual(contentOf(yield* connection.receive), "to it")
    yield* connection.send("from it")
    yield* settle
    assert.strictEqual(textsOf(peer.received).at(-1), "from it")
  })

describe("interruption at each step", () => {
  it.effect("receive removes a whole message or none", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        const got: Array<unknown> = []
        return {
          effect: Effect.gen(function*() {
            for (let i = 0; i < 3; i++) {
              const message = yield* connection.receive
              got.push(contentOf(message))
            }
          }),
          events: [
            () => peer.send(Frame.text("a", { fin: false })),
            () => peer.send(Frame.continuation("b"), Frame.text("c")),
            () => peer.send(Frame.text("d"))
          ],
          verify: () =>
            Effect.gen(function*() {
              while (got.length < 3) got.push(contentOf(yield* connection.receive))
              assert.deepStrictEqual(got, ["ab", "c", "d"])
              yield* stillUsable(connection, peer)
            })
        }
      }))
      assert.isAbove(points, 10)
    }))

  it.effect("an interrupted receive leaves all messages to another one", () =>
    Effect.gen(function*() {
      yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        const got: Array<unknown> = []
        const take = Effect.map(connection.receive, (message) => void got.push(contentOf(message)))
        const other = yield* Effect.forkChild(take, { startImmediately: true })
        return {
          effect: take,
          events: [() => peer.send(Frame.text("a")), () => peer.send(Frame.text("b"))],
          verify: () =>
            Effect.gen(function*() {
              yield* Effect.forkChild(take)
              yield* settle
              assert.isDefined(other.pollUnsafe())
              assert.deepStrictEqual(got.toSorted(), ["a", "b"])
            })
        }
      }))
    }))

  it.effect("messages neither repeats nor reorders", () =>
    Effect.gen(function*() {
      yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        const got: Array<unknown> = []
        return {
          effect: Stream.runForEach(
            connection.messages,
            (message) => Effect.sync(() => got.push(contentOf(message)))
          ),
          events: [
            () => peer.send(Frame.text("1"), Frame.text("2")),
            () => peer.send(Frame.text("3"), Frame.close(1000))
          ],
          verify: (exit) =>
            Effect.gen(function*() {
              if (Exit.isSuccess(exit)) return assert.deepStrictEqual(got, ["1", "2", "3"])
              const rest = yield* Stream.runCollect(connection.messages)
              const all = [...got, ...rest.map(contentOf)].map(Number)
              assert.deepStrictEqual(all, [...new Set(all)].toSorted((a, b) => a - b))
            })
        }
      }))
    }))

  it.effect("receiveFragments removes the first fragment or nothing", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        const got: Array<unknown> = []
        const rest = Effect.gen(function*() {
          while (got.length < 2) {
            const { fragments } = yield* connection.receiveFragments
            got.push(fragments)
          }
        })
        return {
          effect: rest,
          events: [
            () => peer.send(Frame.text("a"), Frame.text("b", { fin: false })),
            () => peer.send(Frame.continuation("c"))
          ],
          verify: () =>
            Effect.gen(function*() {
              yield* rest
              yield* stillUsable(connection, peer)
            })
        }
      }))
      assert.isAbove(points, 5)
    }))

  for (const [kind, begin] of [["text", Frame.text], ["binary", Frame.binary]] as const) {
    it.effect(`a pull of the fragments of a ${kind} message removes one or none`, () =>
      Effect.gen(function*() {
        const points = yield* interruptAtEachStep(Effect.gen(function*() {
          const { connection, peer } = yield* makeRaw({ role: "server" })
          peer.send(begin(Buffer.from("é").subarray(0, 1), { fin: false }))
          const { fragments } = yield* connection.receiveFragments
          const channel = Stream.toChannel<string | Uint8Array, unknown, never>(fragments)
          const pull = yield* Channel.toPullScoped(channel, yield* Effect.scope)
          const got: Array<string | Uint8Array> = []
          const rest = Effect.gen(function*() {
            while (got.length < 4) {
              const pulled = yield* pull
              got.push(...pulled)
            }
          })
          return {
            effect: rest,
            events: [
              () => peer.send(Frame.continuation(Buffer.from("é").subarray(1), { fin: false })),
              () => peer.send(Frame.continuation("b", { fin: false }), Frame.continuation("c"))
            ],
            verify: () =>
              Effect.gen(function*() {
                yield* rest
                const parts = got.map((part) => typeof part === "string" ? part : Buffer.from(part).toString("latin1"))
                assert.deepStrictEqual(parts, kind === "text" ? ["", "é", "b", "c"] : ["\u00c3", "\u00a9", "b", "c"])
                yield* stillUsable(connection, peer)
              })
          }
        }))
        assert.isAbove(points, 5)
      }))
  }

  it.effect("send sends a whole message or nothing", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "client", coalesceWrites: false }, { highWaterMark: 10 })
        peer.transport.pause()
        yield* connection.send("0123456789")
        return {
          effect: connection.send("waits"),
          events: [() => peer.transport.resume()],
          verify: (exit) =>
            Effect.gen(function*() {
              const waits = textsOf(peer.received).filter((text) => text === "waits").length
              assert.isAtMost(waits, 1)
              if (Exit.isSuccess(exit)) assert.strictEqual(waits, 1)
              yield* stillUsable(connection, peer)
            })
        }
      }))
      assert.isAtLeast(points, 2)
    }))

  it.effect("sendAll sends all messages or none", () =>
    Effect.gen(function*() {
      yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server", coalesceWrites: false }, { highWaterMark: 10 })
        peer.transport.pause()
        yield* connection.send("0123456789")
        return {
          effect: connection.sendAll(["a", "b", "c"]),
          events: [() => peer.transport.resume()],
          verify: (exit) =>
            Effect.gen(function*() {
              const sent = textsOf(peer.received).slice(1)
              assert.deepStrictEqual(sent, Exit.isSuccess(exit) || sent.length > 0 ? ["a", "b", "c"] : [])
              yield* stillUsable(connection, peer)
            })
        }
      }))
    }))

  it.effect("sendFragments sends a whole message or nothing, or closes the connection", () =>
    Effect.gen(function*() {
      const seen = new Set<string>()
      yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        return {
          effect: connection.sendFragments(Stream.make("a", "b")),
          events: [],
          verify: (exit) =>
            Effect.gen(function*() {
              const { received } = peer
              if (received.length === 0) {
                assert.isTrue(Exit.isFailure(exit))
                seen.add("not begun")
                return yield* stillUsable(connection, peer)
              }
              if (received.at(-1)!.opcode === Frame.Opcode.Close) {
                seen.add("closed")
                const ended = yield* Effect.flip(connection.send("x"))
                assert.strictEqual(ended.cause?._tag, "MessageAborted")
                return
              }
              seen.add("whole")
              // Where the source yields decides whether the end is known with the last element.
              assert.strictEqual(Buffer.concat(received.map(({ payload }) => payload)).toString(), "ab")
              assert.deepStrictEqual(
                received.map((frame) => frame.fin),
                received.map((_, i) => i === received.length - 1)
              )
              yield* stillUsable(connection, peer)
            })
        }
      }))
      assert.deepStrictEqual([...seen].toSorted(), ["closed", "not begun", "whole"])
    }))

  it.effect("ping leaves the connection usable, with a slot for the next ping", () =>
    Effect.gen(function*() {
      const answer = (peer: MemoryPeer) => peer.send(Frame.pong(new TextEncoder().encode("p")))
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server", maxUnansweredPings: 1 })
        return {
          effect: connection.ping("p"),
          events: [() => answer(peer)],
          verify: () =>
            Effect.gen(function*() {
              const next = yield* Effect.forkChild(connection.ping("p"), { startImmediately: true })
              yield* settle
              answer(peer)
              yield* Fiber.join(next)
              yield* stillUsable(connection, peer)
            })
        }
      }))
      assert.isAbove(points, 3)
    }))

  it.effect("close does not begin, or continues to its end", () =>
    Effect.gen(function*() {
      const points = yield* interruptAtEachStep(Effect.gen(function*() {
        const { connection, peer } = yield* makeRaw({ role: "server" })
        const answer = () => {
          if (peer.received.length === 0) return
          peer.send(Frame.close(4000))
          peer.transport.end()
        }
        return {
          effect: connection.close(4000),
          events: [answer],
          verify: () =>
            Effect.gen(function*() {
              if (peer.received.length === 0) return yield* stillUsable(connection, peer)
              const ended = yield* connection.closed
              assert.strictEqual(ended.code, 4000)
              assert.isTrue(ended.clean)
              assert.strictEqual(peer.received.length, 1)
            })
        }
      }))
      assert.isAbove(points, 2)
    }))

  it.effect("make leaves no open transport behind", () =>
    Effect.gen(function*() {
      yield* interruptAtEachStep(Effect.gen(function*() {
        const [left, right] = yield* Transport.makePair()
        const peer = yield* Connection.make(right, { role: "client", keepalive: false })
        let opened = false
        return {
          effect: Effect.scoped(
            Effect.flatMap(Connection.make(left, { role: "server", keepalive: false }), (connection) => {
              opened = true
              return connection.receive
            })
          ),
          events: [() => void Effect.runFork(peer.send("done"))],
          verify: () =>
            Effect.gen(function*() {
              if (opened) assert.isTrue((yield* peer.closed).clean)
              else left.destroy()
            })
        }
      }))
    }))
})
