/**
 * One connection, everything that can happen to it, in any order: operations and
 * their interruptions, what the peer sends and the network does with it, time.
 * A tape of choices says what happens next, which fiber runs next and where it
 * yields; nothing else does. A small model knows what must come of it.
 */
import { Cause, Clock, Context, Duration, Effect, Exit, type Fiber, Scheduler, Scope, Stream } from "effect"
import { Connection, ConnectionError, type Extension, Frame, ProtocolError } from "effect-ws"
import { strict as assert } from "node:assert"
import type { Target } from "./engine.ts"
import { type Choices, Random, Tape } from "./random.ts"
import { makeNetwork } from "./transport.ts"
import { encode, messagesOf, parse, type WireFrame } from "./wire.ts"

type Shape = Connection.Connection

/** Fibers yield now and then, and go on in any order, one at a time. */
class AnyOrder implements Scheduler.Scheduler {
  readonly executionMode = "async"
  /** All fibers that have run. */
  readonly fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  private readonly choices: Choices
  private readonly tasks: Array<() => void> = []

  constructor(choices: Choices) {
    this.choices = choices
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    this.fibers.add(fiber)
    // The first operation of a fiber that goes on is never held up: no scheduler of Effect's does that.
    return fiber.currentOpCount > 1 && this.choices.oneIn(4)
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return { scheduleTask: (task) => void this.tasks.push(task), flush: () => {} }
  }

  get idle(): boolean {
    return this.tasks.length === 0
  }

  step(): void {
    if (this.idle) return
    this.tasks.splice(this.choices.below(this.tasks.length), 1)[0]()
  }
}

/** Time that passes when it is told to. */
class Time implements Clock.Clock {
  private now = 0
  private sleepers: Array<{ readonly at: number; readonly wake: () => void }> = []

  get asleep(): number {
    return this.sleepers.length
  }

  currentTimeMillisUnsafe(): number {
    return this.now
  }
  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.now) * 1_000_000n
  }
  monotonicTimeNanosUnsafe(): bigint {
    return this.currentTimeNanosUnsafe()
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = this.currentTimeNanos

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const sleeper = { at: this.now + Duration.toMillis(duration), wake: () => resume(Effect.void) }
      this.sleepers.push(sleeper)
      return Effect.sync(() => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper)
      })
    })
  }

  pass(milliseconds: number): void {
    this.now += milliseconds
    const due = this.sleepers.filter(({ at }) => at <= this.now)
    this.sleepers = this.sleepers.filter(({ at }) => at > this.now)
    for (const { wake } of due) wake()
  }
}

/** Changes the bytes of a data frame, or changes them back, by how many there were before it. */
const counted = (payload: Uint8Array, count: number): Uint8Array => payload.map((byte) => byte ^ count)

/**
 * An extension that must encode each data frame once, in order, and one at a
 * time: otherwise its output is wrong, on both sides.
 * It takes its time over some frames, if it is slow.
 */
class Counting implements Extension.Session {
  private readonly choices: Choices
  private readonly slow: boolean
  private readonly counts = { encode: 0, decode: 0 }
  private readonly busy = { encode: false, decode: false }

  constructor(choices: Choices, slow: boolean) {
    this.choices = choices
    this.slow = slow
  }

  get agreed(): Extension.Negotiated {
    return { entry: { name: "x-counting", parameters: [] }, reservedBits: 4, open: Effect.succeed(this) }
  }

  readonly encode = (frame: Frame.Frame): Frame.Frame | Effect.Effect<Frame.Frame> =>
    this.pass("encode", frame, frame.opcode === Frame.Opcode.Continuation ? 0 : 4)

  readonly decode = (frame: Frame.Frame, { limit, used }: Extension.SizeBudget) => {
    const size = used + frame.payload.length
    return size > limit ? new ProtocolError.MessageTooLarge({ size, limit }) : this.pass("decode", frame, 0)
  }

  private pass(
    way: "encode" | "decode",
    { fin, opcode, payload }: Frame.Frame,
    reserved: number
  ): Frame.Frame | Effect.Effect<Frame.Frame> {
    assert.ok(!this.busy[way], "an extension is asked about one frame at a time")
    const frame = new Frame.Frame(opcode, counted(payload, this.counts[way]++), fin, reserved)
    if (!this.slow || this.choices.oneIn(2)) return frame
    this.busy[way] = true
    return Effect.map(Effect.replicateEffect(Effect.yieldNow, this.choices.between(1, 4)), () => {
      this.busy[way] = false
      return frame
    })
  }
}

/** After all microtasks. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** An operation, and what is known of it. */
interface Operation {
  readonly name: string
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** The messages that it sends, in order. */
  readonly sends: ReadonlyArray<string>
  /** Whether nothing may stand between them. */
  readonly together: boolean
  /** The messages that it has received. */
  readonly got: Array<string>
  /** The ping that it waits for. */
  readonly ping: string | undefined
  interrupted: boolean
}

/** A message of the peer's. */
interface Incoming {
  readonly text: string
  /** How many bytes of the peer's there are up to its end. */
  readonly end: number
}

const reset = () => new ConnectionError.TransportError({ code: "ECONNRESET", cause: new Error("read ECONNRESET") })

/** A codec with a fixed mask key, whose decoders return pieces of the given size where pieces are asked for. */
const codecWithPieces = (size: number): Frame.FrameCodec => {
  const codec = Frame.makeCodec({ maskKey: () => 0x3d21fa37 })
  return {
    ...codec,
    decoder: (options) => codec.decoder(options.pieceSize === undefined ? options : { ...options, pieceSize: size })
  }
}

class Run {
  readonly trace: Array<string> = []
  private readonly choices: Tape
  private readonly options: Connection.MakeOptions
  private readonly extension: Counting | undefined
  private readonly slow: boolean
  private peersDataFrames = 0
  private readonly scheduler: AnyOrder
  private readonly time = new Time()
  private readonly network
  private readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  private readonly scope = Scope.makeUnsafe()
  private readonly operations: Array<Operation> = []
  private connection!: Shape
  private count = 0

  // The peer, and how far it has been heard.
  private outgoing = Buffer.alloc(0)
  private delivered = 0
  private largest = 0
  private readonly incoming: Array<Incoming> = []
  private readonly pings: Array<{ readonly payload: string; readonly end: number }> = []
  private readonly pongs: Array<{ readonly payload: string; readonly end: number }> = []
  /** The rest of a message in fragments. */
  private unfinished: { readonly text: string; readonly rest: ReadonlyArray<Uint8Array> } | undefined
  private peerSaysNothingMore = false
  private peerEnded = false
  /** Whether the network has cut the connection off. */
  private failed = false
  /** How much had been delivered when something happened that may end the connection. */
  private closingFrom = Number.POSITIVE_INFINITY
  /** Whether the transport ever was over its mark. */
  private congested = false

  constructor(input: Uint8Array) {
    const setup = new Tape(input.subarray(0, 8))
    this.choices = new Tape(input.subarray(8))
    const random = new Random(setup.below(65536))
    this.scheduler = new AnyOrder(random)
    const extension = setup.pick(["none", "quick", "slow"])
    this.slow = extension === "slow"
    this.extension = extension === "none" ? undefined : new Counting(random, this.slow)
    this.options = {
      negotiated: this.extension === undefined ? [] : [this.extension.agreed],
      role: setup.pick(["server", "client"]),
      inboundHighWaterMark: setup.pick([64 * 1024, 300]),
      coalesceWrites: setup.pick([true, false]),
      keepalive: setup.pick([false, { interval: "5 seconds", timeout: "5 seconds" }]),
      maxMessageSize: 50_000
    }
    this.network = makeNetwork(setup.pick([16 * 1024, 60]))
    const context = Context.make(Scheduler.Scheduler, this.scheduler).pipe(
      Context.add(Clock.Clock, this.time),
      Context.add(Frame.FrameCodec, codecWithPieces(setup.pick([64 * 1024, 100])))
    )
    this.fork = Effect.runForkWith(context)
  }

  async run(): Promise<string> {
    const opened = this.fork(Scope.provide(Connection.make(this.network.transport, this.options), this.scope))
    const connection = await this.settleUntil(() => opened.pollUnsafe())
    assert.ok(Exit.isSuccess(connection))
    this.connection = connection.value
    // Someone always waits for the end.
    this.start("closed", this.connection.closed)
    while (!this.choices.done) {
      this.step()
      this.checkBound()
      if (this.choices.oneIn(2)) await turn()
    }
    await this.finish()
    return this.verify()
  }

  // -- steps -------------------------------------------------------------------

  private step(): void {
    const step = this.choices.below(32)
    switch (step) {
      case 0:
      case 1:
      case 2: {
        const text = this.nextText()
        return this.start("send", this.connection.send(this.choices.oneIn(3) ? Buffer.from(text) : text), {
          sends: [text]
        })
      }
      case 3: {
        const texts = Array.from({ length: this.choices.below(4) }, () => this.nextText())
        return this.start("sendAll", this.connection.sendAll(texts), { sends: texts, together: true })
      }
      case 4: {
        const texts = [this.nextText(), this.nextText()]
        return this.start(
          "send, send",
          Effect.forEach(texts, (text) => this.connection.send(text), { discard: true }),
          { sends: texts }
        )
      }
      case 5:
      case 6:
        return this.sendFragments()
      case 7:
      case 8: {
        const got: Array<string> = []
        const take = Effect.map(this.connection.receive, (message) => void got.push(textOf(message.bytes)))
        return this.start("receive", Effect.replicateEffect(take, this.choices.between(1, 4), { discard: true }), {
          got
        })
      }
      case 9: {
        const got: Array<string> = []
        const messages = Stream.runForEach(
          this.connection.messages,
          (message) => Effect.sync(() => void got.push(textOf(message.bytes)))
        )
        return this.start("messages", messages, { got })
      }
      case 10: {
        const got: Array<string> = []
        const whole = Effect.flatMap(this.connection.receiveFragments, (message) =>
          message._tag === "Text"
            ? Effect.map(Stream.runCollect(message.fragments), (parts) => void got.push(parts.join("")))
            : Effect.map(Stream.runCollect(message.fragments), (parts) => void got.push(textOf(Buffer.concat(parts)))))
        return this.start("receiveFragments", whole, { got })
      }
      case 11: {
        const ping = `p${this.count++}`
        return this.start("ping", this.connection.ping(ping), { ping })
      }
      case 12:
        if (!this.choices.oneIn(4)) return
        this.closing()
        return this.start("close", this.connection.close(this.choices.pick([1000, 4000]), "enough"))
      case 13:
        if (!this.choices.oneIn(6)) return
        return this.closeScope()
      case 14:
      case 15:
      case 16:
        return this.interrupt()
      case 17:
      case 18:
      case 19:
      case 20:
        return this.peerSpeaks()
      case 21:
        return this.peerAnswers()
      case 22:
        if (!this.choices.oneIn(12)) return
        return this.network.gone() ? undefined : this.cut()
      case 23:
        return this.peerEnds()
      case 24:
        return this.pass(this.choices.pick([1000, 5000, 10_000]))
      case 25:
      case 26:
        return this.drain(this.choices.pick([1, 50, 1000, 100_000]))
      case 27:
      case 28:
      case 29:
        return this.deliver(this.choices.pick([1, 10, 200, 70_000]))
      default:
        for (let steps = this.choices.between(1, 20); steps > 0; steps--) this.scheduler.step()
    }
  }

  private say(what: string): void {
    this.trace.push(what)
  }

  private start(name: string, effect: Effect.Effect<unknown, unknown>, more: Partial<Operation> = {}): void {
    const { got = [], ping, sends = [], together = false } = more
    const shown = sends.length > 0 ? ` ${sends.map(nameOf).join(" ")}` : ""
    this.say(`${this.operations.length}: ${name}${shown}${ping ?? ""}`)
    const fiber = this.fork(effect)
    this.operations.push({ name, fiber, sends, together, got, ping, interrupted: false })
  }

  /** A unique text, of any length. */
  private nextText(): string {
    const size = this.choices.pick([0, 1, 10, 16, 600, 2500])
    return `${this.count++}:${"é😀x".repeat(size)}`
  }

  private sendFragments(): void {
    const text = this.nextText()
    const parts = this.pieces(text)
    const fails = this.choices.oneIn(4)
    const stream = Stream.mapEffect(Stream.fromIterable(parts), (part) => Effect.as(Effect.yieldNow, part))
    const ended: Stream.Stream<string, string> = fails ? Stream.concat(stream, Stream.fail("given up")) : stream
    if (fails) this.closing()
    this.start(fails ? "sendFragments that fail" : "sendFragments", this.connection.sendFragments(ended), {
      sends: fails ? [] : [text]
    })
  }

  private pieces(text: string): Array<string> {
    const count = this.choices.between(1, 4)
    const size = Math.ceil(text.length / count)
    return Array.from({ length: count }, (_, i) => text.slice(i * size, (i + 1) * size))
  }

  private interrupt(): void {
    const running = this.operations.filter(({ fiber, interrupted, name }) =>
      !interrupted && fiber.pollUnsafe() === undefined && name !== "end"
    )
    if (running.length === 0) return
    const operation = this.choices.pick(running)
    this.say(`interrupt ${this.operations.indexOf(operation)} (${operation.name})`)
    operation.interrupted = true
    // An interrupted message in fragments closes the connection.
    if (operation.name.startsWith("sendFragments")) this.closing()
    operation.fiber.interruptUnsafe()
  }

  private closeScope(): void {
    if (this.operations.some(({ name }) => name === "end")) return
    this.closing()
    this.start("end", Scope.close(this.scope, this.choices.pick([Exit.void, Exit.fail("no"), Exit.interrupt()])))
  }

  // -- the peer ------------------------------------------------------------------

  private peerWrites(...frames: ReadonlyArray<Pick<WireFrame, "fin" | "opcode" | "payload">>): number {
    const mask = this.options.role === "server" ? Uint8Array.of(1, 2, 3, 4) : undefined
    const bytes = frames.map((frame) => {
      if (this.extension === undefined || frame.opcode >= 8) return encode({ ...frame, reserved: 0, mask })
      const payload = counted(frame.payload, this.peersDataFrames++)
      return encode({ ...frame, payload, reserved: frame.opcode === 0 ? 0 : 4, mask })
    })
    this.outgoing = Buffer.concat([this.outgoing, ...bytes])
    return this.outgoing.length
  }

  private peerSpeaks(): void {
    if (this.peerSaysNothingMore) return
    if (this.unfinished !== undefined && !this.choices.oneIn(3)) return this.peerContinues()
    switch (this.choices.below(12)) {
      case 0: {
        const payload = `q${this.count++}`
        this.say(`the peer: ping ${payload}`)
        this.pings.push({ payload, end: this.peerWrites({ fin: true, opcode: 9, payload: Buffer.from(payload) }) })
        return
      }
      case 1: {
        if (!this.choices.oneIn(4)) return
        const code = this.choices.pick([1000, 4001])
        this.say(`the peer: close ${code}`)
        this.peerSaysNothingMore = true
        this.peerWrites({ fin: true, opcode: 8, payload: Uint8Array.of(code >> 8, code) })
        return
      }
      case 2: {
        if (!this.choices.oneIn(4)) return
        this.say("the peer breaks a rule")
        this.peerSaysNothingMore = true
        this.peerWrites(this.choices.pick([
          { fin: true, opcode: 3, payload: new Uint8Array() },
          { fin: true, opcode: 2, payload: new Uint8Array(50_001) },
          { fin: true, opcode: this.unfinished === undefined ? 0 : 1, payload: new Uint8Array() },
          { fin: true, opcode: this.unfinished === undefined ? 1 : 2, payload: Uint8Array.of(0xff) }
        ]))
        return
      }
      default: {
        if (this.unfinished !== undefined) return this.peerContinues()
        const text = this.nextText()
        const bytes = Buffer.from(text)
        const size = Math.ceil(bytes.length / this.choices.between(1, 4))
        const first = bytes.subarray(0, size)
        const rest: Array<Uint8Array> = []
        for (let at = size; at < bytes.length; at += size) rest.push(bytes.subarray(at, at + size))
        this.say(`the peer: ${nameOf(text)}, the first of ${1 + rest.length}`)
        const end = this.peerWrites({ fin: rest.length === 0, opcode: this.choices.between(1, 2), payload: first })
        if (rest.length === 0) this.incoming.push({ text, end })
        else this.unfinished = { text, rest }
      }
    }
  }

  private peerContinues(): void {
    const { rest: [next, ...rest], text } = this.unfinished!
    this.say(`the peer: ${nameOf(text)}, ${rest.length === 0 ? "the last" : "and so on"}`)
    const end = this.peerWrites({ fin: rest.length === 0, opcode: 0, payload: next })
    if (rest.length > 0) this.unfinished = { text, rest }
    else {
      this.unfinished = undefined
      this.incoming.push({ text, end })
    }
  }

  /** What the connection has written so far; the test that all of it is frames. */
  private get wire(): Array<WireFrame> {
    const { frames, rest } = parse(Buffer.concat(this.network.writes), this.options.role)
    assert.equal(rest.length, 0, "what is written is whole frames")
    if (this.extension === undefined) return frames
    let count = 0
    return frames.map((frame) => {
      if (frame.opcode >= 8) return frame
      assert.equal(frame.reserved, frame.opcode === 0 ? 0 : 4, "data frames go through the extension")
      return Object.assign(frame, { reserved: 0, payload: counted(frame.payload, count++) })
    })
  }

  /** Answers the latest ping, or the close frame. */
  private peerAnswers(): void {
    if (this.peerSaysNothingMore) return
    const { wire } = this
    const close = wire.findLast(({ opcode }) => opcode === 8)
    const ping = wire.findLast(({ opcode }) => opcode === 9)
    if (close !== undefined) {
      this.say("the peer answers the close frame")
      this.peerSaysNothingMore = true
      this.peerWrites(close)
    } else if (ping !== undefined) {
      const payload = textOf(ping.payload)
      this.say(`the peer: pong ${payload}`)
      this.pongs.push({ payload, end: this.peerWrites({ fin: true, opcode: 10, payload: ping.payload }) })
    }
  }

  // -- the network -----------------------------------------------------------------

  private deliver(most: number): void {
    const bytes = this.outgoing.subarray(this.delivered, this.delivered + most)
    if (bytes.length === 0 || !this.network.listens() || this.peerEnded) return
    this.say(`${bytes.length} bytes come`)
    this.delivered += bytes.length
    this.largest = Math.max(this.largest, bytes.length)
    // A close frame or a broken rule may be among them.
    if (this.peerSaysNothingMore) this.closingFrom = Math.min(this.closingFrom, this.lastWord())
    this.network.deliver(Uint8Array.from(bytes))
  }

  /** Where the last frame begins, behind which the peer says nothing more. */
  private lastWord(): number {
    return Math.max(0, ...[...this.incoming, ...this.pings, ...this.pongs].map(({ end }) => end))
  }

  private drain(count: number): void {
    if (this.network.buffered() === 0) return
    this.say(`${Math.min(count, this.network.buffered())} bytes leave`)
    this.network.drain(count)
  }

  private peerEnds(): void {
    if (!this.choices.oneIn(12) || !this.network.listens() || this.delivered < this.outgoing.length) return
    this.say("the peer ends")
    this.closing()
    this.peerSaysNothingMore = true
    this.peerEnded = true
    this.network.peerEnds()
  }

  private cut(): void {
    this.say("the transport fails")
    this.closing()
    this.failed = true
    this.network.close(reset())
  }

  private pass(milliseconds: number): void {
    this.say(`${milliseconds} ms pass`)
    // A keepalive may have failed by then.
    if (this.options.keepalive !== false) this.closing()
    this.time.pass(milliseconds)
  }

  private closing(): void {
    this.closingFrom = Math.min(this.closingFrom, this.delivered)
  }

  private checkBound(): void {
    this.congested ||= this.network.buffered() > 0 && !this.hasRoom()
    const { unreadAmount } = Effect.runSync(this.connection.stats)
    // A frame of 2 bytes is charged 64.
    assert.ok(
      unreadAmount <= this.options.inboundHighWaterMark! + 33 * this.largest,
      `${unreadAmount} bytes are unread`
    )
  }

  private hasRoom(): boolean {
    return this.network.buffered() < 60
  }

  // -- the end -----------------------------------------------------------------------

  /** Runs all fibers, as long as there is something to run. */
  private async settle(): Promise<void> {
    do {
      while (!this.scheduler.idle) this.scheduler.step()
      // What the scheduler does not run, timers, may take a turn to start, and one to fire.
      await turn()
      await turn()
    } while (!this.scheduler.idle)
  }

  private async settleUntil<A>(poll: () => A | undefined): Promise<A> {
    await this.settle()
    const value = poll()
    assert.ok(value !== undefined, "it waits for something that never comes")
    return value
  }

  /** Ends the connection, if it has not ended, and lets everything happen that still can. */
  private async finish(): Promise<void> {
    const answers = this.choices.below(2) === 0
    this.closeScope()
    for (let rounds = 0; rounds < 10; rounds++) {
      await this.settle()
      this.drain(Number.MAX_SAFE_INTEGER)
      await this.settle()
      if (answers && this.unfinished === undefined) this.peerAnswers()
      for (let i = 0; i < 20 && this.delivered < this.outgoing.length; i++) {
        this.deliver(70_000)
        await this.settle()
        this.checkBound()
      }
    }
    if (this.network.ended()) this.network.close()
    await this.settle()
    // Whatever still waits has a deadline.
    this.time.pass(10_000)
    await this.settle()
    assert.ok(this.network.gone(), "the transport is gone, at the latest when closing takes too long")
    const got: Array<string> = []
    const take = Effect.map(this.connection.receive, (message) => void got.push(textOf(message.bytes)))
    this.start("the rest", Effect.forever(take), { got })
    await this.settle()
  }

  private verify(): string {
    for (const [i, { fiber, name }] of this.operations.entries()) {
      assert.ok(fiber.pollUnsafe() !== undefined, `${i}: ${name} is over when the connection is`)
    }
    for (const fiber of this.scheduler.fibers) assert.ok(fiber.pollUnsafe() !== undefined, "no fiber is left")
    assert.equal(this.time.asleep, 0, "no fiber sleeps")
    const closed = this.verifyEnds()
    this.verifySent()
    this.verifyReceived()
    this.verifyPings()
    const how = closed.cause?._tag ?? `${closed.closedBy} ${closed.code}`
    const failed = this.operations.filter(({ fiber }) => endOf(fiber) === "-").map(({ name }) => name)
    return [how, ...[...new Set(failed)].toSorted()].join(" ")
  }

  private verifyEnds(): ConnectionError.ConnectionClosed {
    const closed = this.operations[0].interrupted
      ? Effect.runSync(this.connection.closed)
      : succeeded<ConnectionError.ConnectionClosed>(this.operations[0].fiber)
    for (const { fiber, interrupted, name } of this.operations) {
      const exit = fiber.pollUnsafe()!
      if (Exit.isSuccess(exit)) {
        if (name === "close" || name === "closed") assert.equal(exit.value, closed, "closed is one value")
        continue
      }
      if (Cause.hasDies(exit.cause)) throw new Error(Cause.pretty(exit.cause))
      if (Cause.hasInterruptsOnly(exit.cause)) {
        assert.ok(interrupted, `${name} was interrupted without a reason`)
        continue
      }
      const error = Cause.squash(exit.cause)
      if (error instanceof ConnectionError.ConnectionClosed) continue
      const expected = name === "receiveFragments"
        ? error instanceof ConnectionError.MessageSkipped
        : error === "given up"
      assert.ok(expected, `${name} fails with ${String(error)}`)
    }
    return closed
  }

  private verifySent(): void {
    const { wire } = this
    const data = wire.filter(({ opcode }) => opcode < 8)
    const sent = messagesOf(wire).map((message) => message.data.toString())
    // A message in fragments that was given up can only be the last.
    const closes = wire.filter(({ opcode }) => opcode === 8)
    assert.ok(closes.length <= 1)
    assert.equal(new Set(sent).size, sent.length, "no message is sent twice")
    let rest = [...sent]
    for (const { fiber, name, sends, together } of this.operations) {
      const positions = sends.map((text) => sent.indexOf(text))
      rest = rest.filter((text) => !sends.includes(text))
      const exit = fiber.pollUnsafe()!
      const count = positions.filter((at) => at >= 0).length
      // What was sent in the turn in which the network failed may not have left.
      if (Exit.isSuccess(exit) && !this.failed) assert.equal(count, sends.length, `${name} sends what it says`)
      // An extension that takes its time may not have come to all of them when the connection ended.
      else if (together && !this.slow) assert.ok(count === 0 || count === sends.length, `${name} sends all or nothing`)
      const there = positions.slice(0, count)
      assert.ok(there.every((at, i) => at >= 0 && (i === 0 || at > there[i - 1])), `${name} sends in order`)
      if (together && count > 0) {
        // Control frames pass what an extension takes its time over.
        const frames = this.slow ? there : there.map((at) => wire.indexOf(data.filter(({ fin }) => fin)[at]))
        assert.ok(frames.every((at, i) => i === 0 || at === frames[i - 1] + 1), `${name} sends in one piece`)
      }
      const failed = Exit.isFailure(exit) && !Cause.hasInterrupts(exit.cause) && sends.length === 1
      if (failed) assert.equal(count, 0, `${name} has failed, and sent nothing`)
    }
    assert.deepEqual(rest, [], "nothing else is sent")
  }

  private verifyReceived(): void {
    const all = this.operations.flatMap(({ got }) => got)
    assert.equal(new Set(all).size, all.length, "no message is received twice")
    const texts = this.incoming.map(({ text }) => text)
    for (const { got, name } of this.operations) {
      const positions = got.map((text) => texts.indexOf(text))
      assert.ok(
        !positions.includes(-1),
        `${name} received a message that was not sent: ${got[positions.indexOf(-1)]?.slice(0, 50)}`
      )
      assert.ok(positions.every((at, i) => i === 0 || at > positions[i - 1]), `${name} receives in order`)
    }
    // A reader that is interrupted after it took a batch, or a part of a message, has lost it.
    const lossy = this.operations.some(({ fiber, name }) =>
      (name === "messages" || name === "receiveFragments") && Exit.isFailure(fiber.pollUnsafe()!)
    )
    if (lossy) return
    const must = this.incoming.filter(({ end }) => end <= Math.min(this.delivered, this.closingFrom))
    for (const { text } of must) assert.ok(all.includes(text), `${nameOf(text)} arrived, and no reader got it`)
    const last = texts.findLastIndex((text) => all.includes(text))
    const missing = texts.slice(0, last + 1).filter((text) => !all.includes(text))
    assert.deepEqual(missing.map(nameOf), [], "nothing is missing before what came")
  }

  private verifyPings(): void {
    const { wire } = this
    const payloads = (opcode: number) =>
      wire.filter((frame) => frame.opcode === opcode).map(({ payload }) => textOf(payload))
    const pings = payloads(9)
    const asked = this.pings.filter(({ end }) => end <= this.delivered).map(({ payload }) => payload)
    const answers = payloads(10)
    const positions = answers.map((payload) => asked.indexOf(payload))
    assert.ok(positions.every((at, i) => at >= 0 && (i === 0 || at > positions[i - 1])), "pongs answer pings, in order")
    if (!this.congested) {
      const must = this.pings.filter(({ end }) => end <= Math.min(this.delivered, this.closingFrom))
      for (const { payload } of must) assert.ok(answers.includes(payload), `${payload} is answered`)
    }
    const heard = this.pongs.filter(({ end }) => end <= this.delivered).map(({ payload }) => pings.indexOf(payload))
    for (const { fiber, ping } of this.operations) {
      if (ping === undefined || !Exit.isSuccess(fiber.pollUnsafe()!)) continue
      assert.ok(heard.some((at) => at >= pings.indexOf(ping)), `${ping} was answered`)
    }
  }
}

/** The number that a text begins with. */
const nameOf = (text: string): string => text.slice(0, text.indexOf(":"))

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

const endOf = (fiber: Fiber.Fiber<unknown, unknown>): string => {
  const exit = fiber.pollUnsafe()!
  return Exit.isSuccess(exit) ? "+" : Cause.hasInterruptsOnly(exit.cause) ? "!" : "-"
}

const succeeded = <A>(fiber: Fiber.Fiber<unknown, unknown>): A => {
  const exit = fiber.pollUnsafe()!
  assert.ok(Exit.isSuccess(exit))
  return exit.value as A
}

export const connectionModel: Target = {
  name: "connection-model",
  generate: (choices) => choices.bytes(8 + choices.below(400)),
  run: async (input) => {
    const run = new Run(input)
    try {
      return await run.run()
    } catch (error) {
      const reason = error instanceof Error ? error : new Error(String(error))
      reason.stack += `\n  What happened:\n    ${run.trace.join("\n    ")}`
      throw reason
    }
  }
}
