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

describe("ReceiveQueue", () => {
  it.effect("returns messages one at a time, or all that are here", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      inbox.push([Frame.text("a"), Frame.text("b", { fin: false })])
      inbox.push([Frame.ping(), Frame.continuation("c"), Frame.text("d")])
      assert.strictEqual(yield* message(inbox), "a")
      assert.deepStrictEqual(yield* messages(inbox), ["bc", "d"])
      assert.strictEqual(inbox.unreadAmount, 0)
    }))

  it.effect("fails with MessageTooLarge for text that is too long for a string, and returns its fragments", () =>
    Effect.gen(function*() {
      // Untouched bytes read no memory.
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

  it.effect("serves several readers in turn, one of which reads in a loop", () =>
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
      // The first reader reads all messages, and then waits behind the second.
      inbox.push([Frame.text("d")])
      yield* settle
      inbox.push([Frame.text("e")])
      yield* settle
      assert.deepStrictEqual([yield* Fiber.join(once), looped].flat().toSorted(), ["a", "b", "c", "d", "e"])
      inbox.close(closed)
      assert.deepStrictEqual(yield* Effect.flip(Fiber.join(looping)), closed)
    }))

  it.effect("stays readable after the connection was detached, and then returns a decode error", () =>
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

  it.effect("returns the end with its own cause, if a decode error is found after the connection failed", () =>
    Effect.gen(function*() {
      const session = {
        encode: (frame: Frame.Frame) => frame,
        decode: () => new ProtocolError.MessageTooLarge({ size: 11, limit: 10 })
      }
      const { inbox } = make(200, new Extensions([{ reservedBits: 0, session }], 1000))
      inbox.push([Frame.text("a")])
      inbox.close(closed)
      inbox.detach()
      assert.strictEqual(yield* Effect.flip(message(inbox)), closed)
    }))

  it.effect("retains the unread bytes, and no bytes of other connections", () =>
    Effect.gen(function*() {
      const { inbox } = make(1_000_000)
      const sized = (size: number) => new Frame.Frame(Frame.Opcode.Binary, allocate(size).fill(size))
      for (let i = 0; i < 100; i++) {
        inbox.push(i % 2 === 0 ? [sized(100)] : [sized(1), sized(5000)])
        // Messages of other connections, which use up the current block of memory.
        for (let j = 0; j < 2; j++) allocate(4000)
      }
      const all = yield* inbox.readFrames(Effect.fail)
      assert.strictEqual(all.length, 150)
      for (const { payload } of all) {
        assert.strictEqual(payload.buffer.byteLength, payload.length)
        assert.isTrue(payload.every((byte) => byte === payload.length % 256))
      }
    }))

  it.effect("returns frames, the first with what an interrupted reader of messages had joined", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      inbox.push([Frame.text("a", { fin: false }), Frame.continuation("b", { fin: false })])
      // It has looked for a whole message, and joined its beginning.
      const reader = yield* Effect.forkChild(message(inbox), { startImmediately: true })
      yield* Fiber.interrupt(reader)
      inbox.push([Frame.continuation("c"), Frame.ping(), Frame.text("d")])
      assert.deepStrictEqual(yield* frames(inbox), ["ab", "c", "", "d"])
    }))

  it("with extensions, which may expand frames, nextParts returns frames up to the high-water mark at a time", () => {
    const { inbox } = make(200, new Extensions([], Infinity))
    inbox.push(Array.from({ length: 5 }, (_, i) => Frame.text(`${i}`.repeat(150))))
    const sizes = Array.from({ length: 3 }, () => inbox.nextParts().length)
    assert.deepStrictEqual(sizes, [2, 2, 1])
    const { inbox: plain } = make(200)
    plain.push(Array.from({ length: 5 }, (_, i) => Frame.text(`${i}`.repeat(150))))
    assert.strictEqual(plain.nextParts().length, 5)
  })

  it.effect("reports that it is full at its high-water mark, and resumes its source once at the low-water mark", () =>
    Effect.gen(function*() {
      const { inbox, resumed } = make(200)
      inbox.push([Frame.text("a".repeat(36)), Frame.text("b".repeat(36))])
      assert.deepStrictEqual([inbox.full, inbox.unreadAmount], [true, 200])
      yield* message(inbox)
      assert.deepStrictEqual([inbox.full, resumed()], [false, 1])
      yield* message(inbox)
      assert.strictEqual(resumed(), 1)
    }))

  it.effect("keeps the order of more frames than one block holds", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const count = 3000
      inbox.push(Array.from({ length: count }, (_, i) => Frame.text(String(i))))
      for (let i = 0; i < count - 1; i++) assert.strictEqual(yield* message(inbox), String(i))
      inbox.push([Frame.text("last")])
      assert.deepStrictEqual(yield* messages(inbox), [String(count - 1), "last"])
    }))

  it.effect("returns its data after it was closed, then the end", () =>
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

  describe("ReceiveQueue.readFragment", () => {
    const begin = (inbox: ReceiveQueue) => inbox.readFirstFragment(Effect.fail)

    it.effect("returns one fragment at a time, without control frames", () =>
      Effect.gen(function*() {
        const { inbox } = make()
        inbox.push([Frame.ping(), Frame.text("a", { fin: false }), Frame.ping(), Frame.continuation("b")])
        const { first, token } = yield* begin(inbox)
        const second = yield* inbox.readFragment(token, Effect.fail)
        assert.deepStrictEqual([first, second].map(text), ["a", "b"])
      }))

    it.effect("fails with MessageSkipped after another read", () =>
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

    for (const [begins, opcode] of [[Frame.binary, Frame.Opcode.Binary], [Frame.text, Frame.Opcode.Text]] as const) {
      it.effect(`returns a message that another reader had joined as one fragment, with opcode ${opcode}`, () =>
        Effect.gen(function*() {
          const { inbox } = make()
          inbox.push([begins(Uint8Array.of(1), { fin: false }), Frame.continuation(Uint8Array.of(2))])
          // It has joined the message, and is interrupted before it reads it.
          const steps = new Steps()
          const reader = yield* Effect.forkChild(Effect.provideService(message(inbox), Scheduler.Scheduler, steps), {
            startImmediately: true
          })
          while (inbox.unreadAmount > 0) steps.step()
          reader.interruptUnsafe()
          const { first } = yield* begin(inbox)
          assert.deepStrictEqual([first.opcode, first.fin, Array.from(first.payload)], [opcode, true, [1, 2]])
        }))
    }
  })

  /** Runs a reader step by step, with an event before step `at`. Returns its exit, or undefined if it ended before the event. */
  const withEventAt = <A, E>(read: Effect.Effect<A, E>, at: number, event: () => void): Exit.Exit<A, E> | undefined => {
    const steps = new Steps()
    const fiber = Effect.runFork(Effect.provideService(read, Scheduler.Scheduler, steps))
    for (let count = 0; count < at; count++) steps.step()
    if (fiber.pollUnsafe() !== undefined) return undefined
    event()
    for (let count = 0; count < 1000; count++) steps.step()
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit, `the reader still waits, after an event at step ${at}`)
    return exit
  }

  it("wakes a reader that yielded between its check and its wait", () => {
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

  it("a reader that yielded before its read returns no fragment from the middle of a message", () => {
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

  it.effect("a reader suspends while another fiber decodes the last message", () =>
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

  it.effect("discard drops the frame that an extension decodes, and a reader of it gets the end", () =>
    Effect.gen(function*() {
      const decoded = yield* Deferred.make<void>()
      const session = {
        encode: (frame: Frame.Frame) => frame,
        decode: (frame: Frame.Frame) => Effect.as(Deferred.await(decoded), frame)
      }
      const { inbox } = make(1000, new Extensions([{ reservedBits: 0, session }], 1000))
      inbox.push([Frame.text("a"), Frame.text("b")])
      const reader = yield* Effect.forkChild(message(inbox), { startImmediately: true })
      inbox.discard()
      yield* Deferred.succeed(decoded, undefined)
      yield* settle
      assert.isUndefined(reader.pollUnsafe())
      inbox.close(closed)
      assert.strictEqual(yield* Effect.flip(Fiber.join(reader)), closed)
    }))

  it.effect("a fiber that asks to decode while another one decodes leaves the frame to that one", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      let begun = 0
      const session = {
        encode: (frame: Frame.Frame) => frame,
        decode: (frame: Frame.Frame) =>
          Effect.as(Effect.andThen(Effect.sync(() => begun++), Deferred.await(gate)), frame)
      }
      const { inbox } = make(1000, new Extensions([{ reservedBits: 0, session }], 1000))
      inbox.push([Frame.text("a")])
      const reader = yield* Effect.forkChild(message(inbox), { startImmediately: true })
      const asking = yield* Effect.forkChild(inbox.decodeNext, { startImmediately: true })
      assert.deepStrictEqual([asking.pollUnsafe(), begun], [Exit.void, 1])
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(reader), "a")
    }))

  it("two readers decode each frame once, also if the second begins between two steps of the first", () => {
    for (let at = 0;; at++) {
      let decoded = 0
      const session = {
        encode: (frame: Frame.Frame) => frame,
        decode: (frame: Frame.Frame) => Effect.as(Effect.andThen(Effect.sync(() => decoded++), Effect.yieldNow), frame)
      }
      const { inbox } = make(1000, new Extensions([{ reservedBits: 0, session }], 1000))
      inbox.push([Frame.text("a"), Frame.text("b")])
      const steps = new Steps()
      const read = Effect.provideService(message(inbox), Scheduler.Scheduler, steps)
      let second: Fiber.Fiber<unknown, unknown> | undefined
      const exit = withEventAt(message(inbox), at, () => {
        second = Effect.runFork(read)
        while (!steps.idle) steps.step()
      })
      if (exit === undefined) {
        assert.isAbove(at, 3)
        return
      }
      while (!steps.idle) steps.step()
      const other = second?.pollUnsafe()
      assert.isTrue(Exit.isSuccess(exit) && other !== undefined && Exit.isSuccess(other))
      assert.strictEqual(decoded, 2)
      assert.sameMembers([exit, other].map((end) => end && Exit.isSuccess(end) && end.value), ["a", "b"])
    }
  })

  it.effect("removes interrupted readers from the list", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const waiting = () => {
        let count = 0
        for (let read = Reflect.get(inbox.readers, "first"); read !== undefined; read = read.next) count++
        return count
      }
      // Like a receive with a timeout in a loop, with the same effect or a new one each time.
      const again = message(inbox)
      for (const read of [() => again, () => message(inbox)]) {
        for (let i = 0; i < 100; i++) {
          const reader = yield* Effect.forkChild(read(), { startImmediately: true })
          assert.strictEqual(waiting(), 1)
          yield* Fiber.interrupt(reader)
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

  it.effect("an interrupted reader that has not ended removes no message", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const read = message(inbox)
      const gate = yield* Deferred.make<void>()
      const reader = yield* Effect.forkChild(Effect.onInterrupt(read, () => Deferred.await(gate)), {
        startImmediately: true
      })
      reader.interruptUnsafe()
      const next = yield* Effect.forkChild(read, { startImmediately: true })
      inbox.push([Frame.text("a")])
      assert.strictEqual(yield* Fiber.join(next), "a")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.await(reader)
      inbox.push([Frame.text("b")])
      assert.strictEqual(yield* read, "b")
    }))

  it.effect("interrupted readers that have not ended drop nothing that others could read", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const gate = yield* Deferred.make<void>()
      const begin = inbox.readFirstFragment(Effect.fail)
      const reads: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        message(inbox),
        begin,
        inbox.readFragment({}, Effect.fail)
      ]
      const interrupted = () =>
        Effect.forEach(reads, (read) =>
          Effect.gen(function*() {
            const reader = yield* Effect.forkChild(Effect.onInterrupt(read, () => Deferred.await(gate)), {
              startImmediately: true
            })
            reader.interruptUnsafe()
          }))
      yield* interrupted()
      inbox.push([Frame.ping(), Frame.text("a", { fin: false })])
      assert.deepStrictEqual(yield* frames(inbox), ["", "a"])
      inbox.push([Frame.continuation("b"), Frame.text("c", { fin: false })])
      const { token } = yield* begin
      yield* interrupted()
      inbox.push([Frame.continuation("d")])
      assert.strictEqual(text(yield* inbox.readFragment(token, Effect.fail)), "d")
      yield* Deferred.succeed(gate, undefined)
    }))

  it.effect("an interrupted reader of frames that has not ended leaves the pieces of a frame to others", () =>
    Effect.gen(function*() {
      const { inbox } = make()
      const gate = yield* Deferred.make<void>()
      const reader = yield* Effect.forkChild(Effect.onInterrupt(frames(inbox), () => Deferred.await(gate)), {
        startImmediately: true
      })
      reader.interruptUnsafe()
      const piece = (payload: string, offset: number, remaining: number) =>
        new Frame.Piece(
          offset === 0 ? Frame.Opcode.Text : Frame.Opcode.Continuation,
          Buffer.from(payload),
          remaining === 0,
          0,
          { offset, remaining }
        )
      inbox.push([piece("a", 0, 2)])
      inbox.push([piece("b", 1, 1)])
      const { first, token } = yield* inbox.readFirstFragment(Effect.fail)
      inbox.push([piece("c", 2, 0)])
      const last = yield* inbox.readFragment(token, Effect.fail)
      assert.deepStrictEqual([first, last].map((frame) => [text(frame), frame.fin]), [["ab", false], ["c", true]])
      yield* Deferred.succeed(gate, undefined)
    }))

  it("a reader that was woken, yielded and was interrupted leaves the message to the next", () => {
    const { inbox } = make()
    let armed = false
    const steps = new class extends Steps {
      override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
        const now = armed && fiber.currentOpCount === 2
        if (now) armed = false
        return now
      }
    }()
    const reader = Effect.runFork(Effect.provideService(message(inbox), Scheduler.Scheduler, steps))
    while (!steps.idle) steps.step()
    const next = Effect.runFork(message(inbox))
    armed = true
    // Both are woken, and the first to run reads the message.
    inbox.push([Frame.text("a")])
    assert.deepStrictEqual([armed, reader.pollUnsafe(), next.pollUnsafe()], [false, undefined, Exit.succeed("a")])
    const last = Effect.runFork(message(inbox))
    inbox.push([Frame.text("b")])
    reader.interruptUnsafe()
    while (!steps.idle) steps.step()
    assert.deepStrictEqual(last.pollUnsafe(), Exit.succeed("b"))
  })
})
