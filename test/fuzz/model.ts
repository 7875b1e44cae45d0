/**
 * Model of one connection: operations and their interruptions, frames of the peer, faults of
 * the network and time, in any order. A tape of choices alone decides what happens next, which fiber
 * runs and where it yields. The rules of modelHistory.ts decide whether the outcome is correct.
 */
import { Clock, Context, Effect, Exit, type Fiber, Scheduler, Scope, Stream } from "effect"
import { Connection, ConnectionError, Frame } from "effect-ws"
import { strict as assert } from "node:assert"
import type { Target } from "./engine.ts"
import { type Incoming, type IncomingControl, nameOf, type Operation, textOf, verify } from "./modelHistory.ts"
import { CountingExtension, ManualClock, RandomScheduler, xorWithCount } from "./modelRuntime.ts"
import { Random, Tape } from "./random.ts"
import { makeNetwork } from "./transport.ts"
import { encode, parse, type WireFrame } from "./wire.ts"

/** Waits for a turn of the event loop. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

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
  private readonly extension: CountingExtension | undefined
  private readonly extensionSuspends: boolean
  private peerDataFrames = 0
  private readonly scheduler: RandomScheduler
  private readonly time = new ManualClock()
  private readonly network
  private readonly fork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  private readonly scope = Scope.makeUnsafe()
  private readonly operations: Array<Operation> = []
  private connection!: Connection.Connection
  private count = 0

  // The peer, and how much of its data the connection has received.
  private outgoing = Buffer.alloc(0)
  private delivered = 0
  private largest = 0
  private readonly incoming: Array<Incoming> = []
  private readonly pings: Array<IncomingControl> = []
  private readonly pongs: Array<IncomingControl> = []
  /** A message whose last fragment the peer has not sent. */
  private unfinished: { readonly text: string; readonly rest: ReadonlyArray<Uint8Array> } | undefined
  private peerIsSilent = false
  private peerEnded = false
  private transportFailed = false
  /** The value of `delivered` at the first event that may end the connection. */
  private closingFrom = Number.POSITIVE_INFINITY
  private wasAboveHighWaterMark = false

  constructor(input: Uint8Array) {
    const setup = new Tape(input.subarray(0, 8))
    this.choices = new Tape(input.subarray(8))
    const random = new Random(setup.below(65536))
    this.scheduler = new RandomScheduler(random)
    const extension = setup.pick(["none", "quick", "slow"])
    this.extensionSuspends = extension === "slow"
    this.extension = extension === "none" ? undefined : new CountingExtension(random, this.extensionSuspends)
    this.options = {
      negotiated: this.extension === undefined ? [] : [this.extension.negotiated],
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
    // One operation waits for the end from the beginning.
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
        const received: Array<string> = []
        const take = Effect.map(this.connection.receive, (message) => void received.push(textOf(message.bytes)))
        return this.start("receive", Effect.replicateEffect(take, this.choices.between(1, 4), { discard: true }), {
          received
        })
      }
      case 9: {
        const received: Array<string> = []
        const messages = Stream.runForEach(
          this.connection.messages,
          (message) => Effect.sync(() => void received.push(textOf(message.bytes)))
        )
        return this.start("messages", messages, { received })
      }
      case 10: {
        const received: Array<string> = []
        const whole = Effect.flatMap(this.connection.receiveFragments, (message) =>
          message._tag === "Text"
            ? Effect.map(Stream.runCollect(message.fragments), (parts) => void received.push(parts.join("")))
            : Effect.map(Stream.runCollect(message.fragments), (parts) =>
              void received.push(textOf(Buffer.concat(parts)))))
        return this.start("receiveFragments", whole, { received })
      }
      case 11: {
        const ping = `p${this.count++}`
        return this.start("ping", this.connection.ping(ping), { ping })
      }
      case 12:
        if (!this.choices.oneIn(4)) return
        this.mayClose()
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
        return this.peerSends()
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

  private record(event: string): void {
    this.trace.push(event)
  }

  private start(name: string, effect: Effect.Effect<unknown, unknown>, more: Partial<Operation> = {}): void {
    const { received = [], ping, sends = [], together = false } = more
    const shown = sends.length > 0 ? ` ${sends.map(nameOf).join(" ")}` : ""
    this.record(`${this.operations.length}: ${name}${shown}${ping ?? ""}`)
    const fiber = this.fork(effect)
    this.operations.push({ name, fiber, sends, together, received, ping, interrupted: false })
  }

  /** Returns a unique text, of any length. */
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
    if (fails) this.mayClose()
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
    this.record(`interrupt ${this.operations.indexOf(operation)} (${operation.name})`)
    operation.interrupted = true
    // An interrupted message in fragments closes the connection.
    if (operation.name.startsWith("sendFragments")) this.mayClose()
    operation.fiber.interruptUnsafe()
  }

  private closeScope(): void {
    if (this.operations.some(({ name }) => name === "end")) return
    this.mayClose()
    this.start("end", Scope.close(this.scope, this.choices.pick([Exit.void, Exit.fail("no"), Exit.interrupt()])))
  }

  // -- the peer ------------------------------------------------------------------

  private peerWrites(...frames: ReadonlyArray<Pick<WireFrame, "fin" | "opcode" | "payload">>): number {
    const mask = this.options.role === "server" ? Uint8Array.of(1, 2, 3, 4) : undefined
    const bytes = frames.map((frame) => {
      if (this.extension === undefined || frame.opcode >= 8) return encode({ ...frame, reserved: 0, mask })
      const payload = xorWithCount(frame.payload, this.peerDataFrames++)
      return encode({ ...frame, payload, reserved: frame.opcode === 0 ? 0 : 4, mask })
    })
    this.outgoing = Buffer.concat([this.outgoing, ...bytes])
    return this.outgoing.length
  }

  private peerSends(): void {
    if (this.peerIsSilent) return
    if (this.unfinished !== undefined && !this.choices.oneIn(3)) return this.peerContinues()
    switch (this.choices.below(12)) {
      case 0: {
        const payload = `q${this.count++}`
        this.record(`the peer: ping ${payload}`)
        this.pings.push({ payload, end: this.peerWrites({ fin: true, opcode: 9, payload: Buffer.from(payload) }) })
        return
      }
      case 1: {
        if (!this.choices.oneIn(4)) return
        const code = this.choices.pick([1000, 4001])
        this.record(`the peer: close ${code}`)
        this.peerIsSilent = true
        this.peerWrites({ fin: true, opcode: 8, payload: Uint8Array.of(code >> 8, code) })
        return
      }
      case 2: {
        if (!this.choices.oneIn(4)) return
        this.record("the peer violates the protocol")
        this.peerIsSilent = true
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
        this.record(`the peer: ${nameOf(text)}, the first of ${1 + rest.length}`)
        const end = this.peerWrites({ fin: rest.length === 0, opcode: this.choices.between(1, 2), payload: first })
        if (rest.length === 0) this.incoming.push({ text, end })
        else this.unfinished = { text, rest }
      }
    }
  }

  private peerContinues(): void {
    const { rest: [next, ...rest], text } = this.unfinished!
    this.record(`the peer: ${nameOf(text)}, ${rest.length === 0 ? "the last" : "and so on"}`)
    const end = this.peerWrites({ fin: rest.length === 0, opcode: 0, payload: next })
    if (rest.length > 0) this.unfinished = { text, rest }
    else {
      this.unfinished = undefined
      this.incoming.push({ text, end })
    }
  }

  /** Returns the frames that the connection has written, and fails if other bytes are among them. */
  private get wire(): Array<WireFrame> {
    const { frames, rest } = parse(Buffer.concat(this.network.writes), this.options.role)
    assert.equal(rest.length, 0, "what is written is whole frames")
    if (this.extension === undefined) return frames
    let count = 0
    return frames.map((frame) => {
      if (frame.opcode >= 8) return frame
      assert.equal(frame.reserved, frame.opcode === 0 ? 0 : 4, "data frames go through the extension")
      return Object.assign(frame, { reserved: 0, payload: xorWithCount(frame.payload, count++) })
    })
  }

  /** The peer answers the close frame, or the latest ping. */
  private peerAnswers(): void {
    if (this.peerIsSilent) return
    const { wire } = this
    const close = wire.findLast(({ opcode }) => opcode === 8)
    const ping = wire.findLast(({ opcode }) => opcode === 9)
    if (close !== undefined) {
      this.record("the peer answers the close frame")
      this.peerIsSilent = true
      this.peerWrites(close)
    } else if (ping !== undefined) {
      const payload = textOf(ping.payload)
      this.record(`the peer: pong ${payload}`)
      this.pongs.push({ payload, end: this.peerWrites({ fin: true, opcode: 10, payload: ping.payload }) })
    }
  }

  // -- the network -----------------------------------------------------------------

  private deliver(most: number): void {
    const bytes = this.outgoing.subarray(this.delivered, this.delivered + most)
    if (bytes.length === 0 || !this.network.listens() || this.peerEnded) return
    this.record(`${bytes.length} bytes arrive`)
    this.delivered += bytes.length
    this.largest = Math.max(this.largest, bytes.length)
    // They may have a close frame or a violation.
    if (this.peerIsSilent) this.closingFrom = Math.min(this.closingFrom, this.endOfRegularFrames())
    this.network.deliver(Uint8Array.from(bytes))
  }

  /** Returns the end of the last message, ping or pong before the final frame of the peer. */
  private endOfRegularFrames(): number {
    return Math.max(0, ...[...this.incoming, ...this.pings, ...this.pongs].map(({ end }) => end))
  }

  private drain(count: number): void {
    if (this.network.buffered() === 0) return
    this.record(`${Math.min(count, this.network.buffered())} bytes leave`)
    this.network.drain(count)
  }

  private peerEnds(): void {
    if (!this.choices.oneIn(12) || !this.network.listens() || this.delivered < this.outgoing.length) return
    this.record("the peer ends")
    this.mayClose()
    this.peerIsSilent = true
    this.peerEnded = true
    this.network.peerEnds()
  }

  private cut(): void {
    this.record("the transport fails")
    this.mayClose()
    this.transportFailed = true
    this.network.close(reset())
  }

  private pass(milliseconds: number): void {
    this.record(`${milliseconds} ms pass`)
    // The keepalive may have failed.
    if (this.options.keepalive !== false) this.mayClose()
    this.time.pass(milliseconds)
  }

  private mayClose(): void {
    this.closingFrom = Math.min(this.closingFrom, this.delivered)
  }

  private checkBound(): void {
    this.wasAboveHighWaterMark ||= this.network.buffered() > 0 && !this.hasRoom()
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

  /** Runs fibers until none is ready. */
  private async settle(): Promise<void> {
    do {
      while (!this.scheduler.idle) this.scheduler.step()
      // Timers of the host take one turn to start, and one to fire.
      await turn()
      await turn()
    } while (!this.scheduler.idle)
  }

  private async settleUntil<A>(poll: () => A | undefined): Promise<A> {
    await this.settle()
    const value = poll()
    assert.ok(value !== undefined, "the effect has finished once no fiber is ready")
    return value
  }

  /** Closes the Scope, and delivers all bytes and deadlines that remain. */
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
    // Fibers that still wait have a deadline.
    this.time.pass(10_000)
    await this.settle()
    assert.ok(this.network.gone(), "the transport is closed, at the latest after closeTimeout")
    const received: Array<string> = []
    const take = Effect.map(this.connection.receive, (message) => void received.push(textOf(message.bytes)))
    this.start("the rest", Effect.forever(take), { received })
    await this.settle()
  }

  private verify(): string {
    const { connection, incoming, operations, pings, pongs, wire } = this
    const { closingFrom, delivered, extensionSuspends, transportFailed, wasAboveHighWaterMark } = this
    const { fibers } = this.scheduler
    const { sleeperCount } = this.time
    return verify({
      connection,
      operations,
      fibers,
      sleeperCount,
      wire,
      incoming,
      pings,
      pongs,
      delivered,
      closingFrom,
      extensionSuspends,
      transportFailed,
      wasAboveHighWaterMark
    })
  }
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
      reason.stack += `\n  Trace:\n    ${run.trace.join("\n    ")}`
      throw reason
    }
  }
}
