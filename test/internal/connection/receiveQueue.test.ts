import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scheduler } from "effect"
import { ConnectionError, Frame, ProtocolError } from "effect-ws"
import { allocate } from "../../../src/internal/runtime/buffers.ts"
import { Extensions } from "../../../src/internal/connection/extensionPipeline.ts"
import { ReceiveQueue } from "../../../src/internal/connection/receiveQueue.ts"
import { contentOf, settle } from "../../support/memory.ts"
import { Steps } from "../../support/interruptAtEachStep.ts"

const closed = new ConnectionError.ConnectionClosed({
  sent: undefined,
  received: undefined,
  closedBy: undefined,
  cause: new ConnectionError.UnexpectedEof()
})

const make = (highWaterMark = 1000, extensions?: Extensions) => {
  let resumed = 0
  const inbox = new ReceiveQueue(highWaterMark, { resume: () => resumed++, onDecodeError: () => closed }, extensions)
  return { inbox, resumed: () => resumed }
}

const text = (frame: Frame.Frame): string => Buffer.from(frame.payload).toString()
const message = (inbox: ReceiveQueue) => Effect.map(inbox.readMessage(Effect.fail), contentOf)
const messages = (inbox: ReceiveQueue) => Effect.map(inbox.readMessages(Effect.fail), (all) => all.map(contentOf))
const frames = (inbox: ReceiveQueue) => Effect.map(inbox.readFrames(Effect.fail), (all) => all.map(text))

describe("Inbox", () => {
  it.effect("gives out messages one at a time, or all that are here", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      inbox.push([Frame.text("a"), Frame.text("b", { fin: false })])
      inbox.push([Frame.ping(), Frame.continuation("c"), Frame.text("d")])
      assert.strictEqual(yield* message(inbox), "a")
      assert.deepStrictEqual(yield* messages(inbox), ["bc", "d"])
      assert.strictEqual(inbox.unreadAmount, 0)
    }))

  it.effect("fails with text that is too long for a string, and gives its fragments out", () =>
    Effect.gen(function*() {
      // These bytes are not touched, and so take no memory.
      const half = new Uint8Array(2 ** 28)
      const failures: Array<string> = []
      const onDecodeError = (error: { readonly _tag: string }) => {
        failures.push(error._tag)
        return closed
      }
      const fragments = [Frame.text(half, { fin: false }), Frame.continuation(half)]
      const whole = new ReceiveQueue(1000, { resume: () => {}, onDecodeError }, undefined)
      whole.push([...fragments])
      assert.strictEqual(yield* Effect.flip(message(whole)), closed)
      assert.deepStrictEqual(failures, ["MessageTooLarge"])
      const streamed = new ReceiveQueue(1000, { resume: () => {}, onDecodeError }, undefined)
      streamed.push([...fragments])
      const { first, token } = yield* streamed.readFirstFragment(Effect.fail)
      const second = yield* streamed.readFragment(token, Effect.fail)
      assert.deepStrictEqual([first.payload.length, second.payload.length], [2 ** 28, 2 ** 28])
      assert.strictEqual(failures.length, 1)
    }))

  it.effect("gives out what comes to several takers in turn, of which one takes again and again", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const looped: Array<unknown> = []
      const looping = yield* Effect.forkChild(
        Effect.forever(Effect.tap(message(inbox), (content) => Effect.sync(() => looped.push(content)))),
        { startImmediately: true }
      )
      const once = yield* Effect.forkChild(message(inbox), { startImmediately: true })
      inbox.push([Frame.text("a"), Frame.text("b"), Frame.text("c")])
      yield* settle
      // The first to wait takes all that is there, and waits behind the second then.
      inbox.push([Frame.text("d")])
      yield* settle
      inbox.push([Frame.text("e")])
      yield* settle
      assert.deepStrictEqual([yield* Fiber.join(once), looped].flat().toSorted(), ["a", "b", "c", "d", "e"])
      inbox.close(closed)
      assert.deepStrictEqual(yield* Effect.flip(Fiber.join(looping)), closed)
    }))

  it.effect("can be emptied when the connection is gone, and says then what cannot be decoded", () =>
    Effect.gen(function*() {
      const broken = new ProtocolError.MessageTooLarge({ size: 11, limit: 10 })
      const session = {
        encode: (frame: Frame.Frame) => frame,
        decode: (frame: Frame.Frame) => frame.fin ? frame : broken
      }
      const { inbox, resumed } = make(200, new Extensions([{ reservedBits: 0, session }], 1000))
      inbox.push([Frame.text("a".repeat(200)), Frame.text("b", { fin: false })])
      inbox.close(new ConnectionError.ConnectionClosed({ ...closed, cause: undefined }))
      inbox.detach()
      assert.strictEqual(yield* message(inbox), "a".repeat(200))
      const failure = yield* Effect.flip(message(inbox))
      assert.deepStrictEqual([failure.cause, resumed()], [broken, 0])
      assert.strictEqual(yield* Effect.flip(message(inbox)), failure)
    }))

  it.effect("holds on to what is unread, and not to what others were sent meanwhile", () =>
    Effect.gen(function*() {
      const { inbox } = make(1_000_000)
      const sized = (size: number) => new Frame.Frame(Frame.Opcode.Binary, allocate(size).fill(size))
      for (let i = 0; i < 100; i++) {
        inbox.push(i % 2 === 0 ? [sized(100)] : [sized(1), sized(5000)])
        // Others' messages, which go on to new blocks of memory.
        for (let j = 0; j < 2; j++) allocate(4000)
      }
      const all = yield* inbox.readFrames(Effect.fail)
      assert.strictEqual(all.length, 150)
      for (const { payload } of all) {
        assert.strictEqual(payload.buffer.byteLength, payload.length)
        assert.isTrue(payload.every((byte) => byte === payload.length % 256))
      }
    }))

  it.effect("gives out frames, and what is left of a message that was begun", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      inbox.push([Frame.text("a", { fin: false }), Frame.continuation("b", { fin: false })])
      // It has looked for a whole message, and put its beginning together.
      const taker = yield* Effect.forkChild(message(inbox), { startImmediately: true })
      yield* Fiber.interrupt(taker)
      inbox.push([Frame.continuation("c"), Frame.ping(), Frame.text("d")])
      assert.deepStrictEqual(yield* frames(inbox), ["ab", "c", "", "d"])
    }))

  it.effect("says when it is full, and once when it has room again", () =>
    Effect.gen(function*() {
      const { inbox, resumed } = make(200)
      inbox.push([Frame.text("a".repeat(36)), Frame.text("b".repeat(36))])
      assert.deepStrictEqual([inbox.full, inbox.unreadAmount], [true, 200])
      yield* message(inbox)
      assert.deepStrictEqual([inbox.full, resumed()], [false, 1])
      yield* message(inbox)
      assert.strictEqual(resumed(), 1)
    }))

  it.effect("keeps order over more frames than it holds in one block", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const count = 3000
      inbox.push(Array.from({ length: count }, (_, i) => Frame.text(String(i))))
      for (let i = 0; i < count - 1; i++) assert.strictEqual(yield* message(inbox), String(i))
      inbox.push([Frame.text("last")])
      assert.deepStrictEqual(yield* messages(inbox), [String(count - 1), "last"])
    }))

  it.effect("gives out what is here after the end, and then the end", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const waiting = yield* Effect.forkChild(message(inbox), { startImmediately: true })
      inbox.push([Frame.text("a"), Frame.text("b")])
      inbox.close(closed)
      inbox.close(closed)
      assert.strictEqual(yield* Fiber.join(waiting), "a")
      assert.strictEqual(yield* message(inbox), "b")
      assert.strictEqual(yield* Effect.flip(message(inbox)), closed)
    }))

  describe("fragments", () => {
    const begin = (inbox: ReceiveQueue) => inbox.readFirstFragment(Effect.fail)

    it.effect("come one by one, control frames left out", () =>
      Effect.gen(function*() {
        const { inbox } = make()
        inbox.push([Frame.ping(), Frame.text("a", { fin: false }), Frame.ping(), Frame.continuation("b")])
        const { first, token } = yield* begin(inbox)
        const second = yield* inbox.readFragment(token, Effect.fail)
        assert.deepStrictEqual([first, second].map(text), ["a", "b"])
      }))

    it.effect("are skipped when something else is asked for", () =>
      Effect.gen(function*() {
        const { inbox } = make()
        inbox.push([Frame.text("a", { fin: false })])
        const { token } = yield* begin(inbox)
        const waiting = yield* Effect.forkChild(inbox.readFragment(token, Effect.fail), { startImmediately: true })
        const next = yield* Effect.forkChild(begin(inbox), { startImmediately: true })
        inbox.push([Frame.continuation("b", { fin: false }), Frame.continuation("c"), Frame.text("d")])
        assert.deepStrictEqual([yield* Effect.exit(Fiber.join(waiting)), text((yield* Fiber.join(next)).first)], [
          Exit.succeed(Frame.continuation("b", { fin: false })),
          "d"
        ])
        const skipped = yield* Effect.flip(inbox.readFragment(token, Effect.fail))
        assert.strictEqual(skipped._tag, "MessageSkipped")
      }))

    it.effect("of a message that is whole already are one", () =>
      Effect.gen(function*() {
        const { inbox } = make()
        inbox.push([Frame.binary(Uint8Array.of(1), { fin: false }), Frame.continuation(Uint8Array.of(2))])
        // It has looked, and left before it took the message.
        const steps = new Steps()
        const taker = yield* Effect.forkChild(Effect.provideService(message(inbox), Scheduler.Scheduler, steps), {
          startImmediately: true
        })
        while (inbox.unreadAmount > 0) steps.step()
        taker.interruptUnsafe()
        const { first } = yield* begin(inbox)
        assert.deepStrictEqual([first.opcode, first.fin, Array.from(first.payload)], [Frame.Opcode.Binary, true, [
          1,
          2
        ]])
      }))
  })

  /** Runs a take step by step, with an event before step `at`; answers how it ended, or undefined where it was over before. */
  const withEventAt = <A, E>(take: Effect.Effect<A, E>, at: number, event: () => void): Exit.Exit<A, E> | undefined => {
    const steps = new Steps()
    const fiber = Effect.runFork(Effect.provideService(take, Scheduler.Scheduler, steps))
    for (let count = 0; count < at; count++) steps.step()
    if (fiber.pollUnsafe() !== undefined) return undefined
    event()
    for (let count = 0; count < 1000; count++) steps.step()
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit, `it still waits, after an event at step ${at}`)
    return exit
  }

  it("wakes whoever looked, was made to yield, and is about to wait", () => {
    for (let at = 0; at < 10; at++) {
      const arriving = make()
      const arrived = withEventAt(message(arriving.inbox), at, () => arriving.inbox.push([Frame.text("a")]))
      assert.deepStrictEqual(arrived, Exit.succeed("a"))
      const ending = make()
      assert.deepStrictEqual(
        withEventAt(message(ending.inbox), at, () => ending.inbox.close(closed)),
        Exit.fail(closed)
      )
    }
  })

  it("a taker that was made to yield takes no fragment from the middle of a message", () => {
    for (let at = 0;; at++) {
      const { inbox } = make()
      inbox.push([Frame.text("a", { fin: false }), Frame.continuation("b"), Frame.text("c", { fin: false })])
      const other = () =>
        assert.strictEqual(
          Effect.runSync(Effect.map(inbox.readFirstFragment(Effect.fail), ({ first }) => text(first))),
          "a"
        )
      const exit = withEventAt(inbox.readFirstFragment(Effect.fail), at, other)
      if (exit === undefined) {
        assert.isAbove(at, 1)
        return
      }
      assert.isTrue(Exit.isSuccess(exit) && text(exit.value.first) === "c")
    }
  })

  it.effect("whoever comes while the last message is decoded waits for it, and does not ask again and again", () =>
    Effect.gen(function*() {
      const decoded = yield* Deferred.make<void>()
      const session = {
        encode: (frame: Frame.Frame) => frame,
        decode: (frame: Frame.Frame) => Effect.as(Deferred.await(decoded), frame)
      }
      const { inbox } = make(1000, new Extensions([{ reservedBits: 0, session }], 1000))
      inbox.push([Frame.text("a")])
      const first = Effect.runFork(message(inbox))
      inbox.close(closed)
      const steps = new Steps()
      const second = Effect.runFork(Effect.provideService(message(inbox), Scheduler.Scheduler, steps))
      for (let count = 0; count < 50; count++) steps.step()
      assert.deepStrictEqual([steps.idle, second.pollUnsafe()], [true, undefined])
      yield* Deferred.succeed(decoded, undefined)
      while (!steps.idle) steps.step()
      assert.deepStrictEqual([first.pollUnsafe(), second.pollUnsafe()], [Exit.succeed("a"), Exit.fail(closed)])
    }))

  it.effect("takers that were interrupted stay in nobody's way", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const waiting = () => {
        let count = 0
        for (let take = Reflect.get(inbox, "first"); take !== undefined; take = take.next) count++
        return count
      }
      // As a receive with a timeout does, in a loop, with one effect or a new one each time.
      const again = message(inbox)
      for (const take of [() => again, () => message(inbox)]) {
        for (let i = 0; i < 100; i++) {
          const taker = yield* Effect.forkChild(take(), { startImmediately: true })
          assert.strictEqual(waiting(), 1)
          yield* Fiber.interrupt(taker)
        }
      }
      const many = yield* Effect.forEach(Array.from({ length: 100 }), () =>
        Effect.forkChild(again, { startImmediately: true }))
      assert.strictEqual(waiting(), 100)
      yield* Fiber.interruptAll(many.filter((_, i) =>
        i % 3 !== 0
      ))
      const last = yield* Effect.forkChild(again, { startImmediately: true })
      assert.strictEqual(waiting(), 35)
      inbox.push(Array.from({ length: 35 }, (_, i) => Frame.text(`${i}`)))
      // First come, first served.
      const left = many.filter((_, i) => i % 3 === 0)
      assert.deepStrictEqual(
        yield* Effect.forEach([...left, last], Fiber.join),
        Array.from({ length: 35 }, (_, i) => `${i}`)
      )
      assert.strictEqual(waiting(), 0)
    }))

  it.effect("a taker that was interrupted, and has not ended, takes nothing from the next", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const take = message(inbox)
      const held = yield* Deferred.make<void>()
      const taker = yield* Effect.forkChild(Effect.onInterrupt(take, () => Deferred.await(held)), {
        startImmediately: true
      })
      taker.interruptUnsafe()
      const next = yield* Effect.forkChild(take, { startImmediately: true })
      inbox.push([Frame.text("a")])
      assert.strictEqual(yield* Fiber.join(next), "a")
      yield* Deferred.succeed(held, undefined)
      yield* Fiber.await(taker)
      inbox.push([Frame.text("b")])
      assert.strictEqual(yield* take, "b")
    }))

  it.effect("takers that were interrupted, and have not ended, pass over nothing that others want", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const held = yield* Deferred.make<void>()
      const begin = inbox.readFirstFragment(Effect.fail)
      const takes: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        message(inbox),
        begin,
        inbox.readFragment({}, Effect.fail)
      ]
      const interrupted = () =>
        Effect.forEach(takes, (take) =>
          Effect.gen(function*() {
            const taker = yield* Effect.forkChild(Effect.onInterrupt(take, () => Deferred.await(held)), {
              startImmediately: true
            })
            taker.interruptUnsafe()
          }))
      yield* interrupted()
      inbox.push([Frame.ping(), Frame.text("a", { fin: false })])
      assert.deepStrictEqual(yield* frames(inbox), ["", "a"])
      inbox.push([Frame.continuation("b"), Frame.text("c", { fin: false })])
      const { token } = yield* begin
      yield* interrupted()
      inbox.push([Frame.continuation("d")])
      assert.strictEqual(text(yield* inbox.readFragment(token, Effect.fail)), "d")
      yield* Deferred.succeed(held, undefined)
    }))

  it("a taker that was woken, made to yield, and interrupted, leaves what is here to the next", () => {
    const { inbox } = make()
    let armed = false
    const steps = new class extends Steps {
      override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
        const now = armed && fiber.currentOpCount === 2
        if (now) armed = false
        return now
      }
    }()
    const taker = Effect.runFork(Effect.provideService(message(inbox), Scheduler.Scheduler, steps))
    while (!steps.idle) steps.step()
    const next = Effect.runFork(message(inbox))
    armed = true
    // Both are woken, and whoever comes first takes it.
    inbox.push([Frame.text("a")])
    assert.deepStrictEqual([armed, taker.pollUnsafe(), next.pollUnsafe()], [false, undefined, Exit.succeed("a")])
    const last = Effect.runFork(message(inbox))
    inbox.push([Frame.text("b")])
    taker.interruptUnsafe()
    while (!steps.idle) steps.step()
    assert.deepStrictEqual(last.pollUnsafe(), Exit.succeed("b"))
  })
})
