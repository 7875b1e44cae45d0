/** Plays a case to a server or a client over TCP, and judges the replies. */
import * as Net from "node:net"
import {
  type Case,
  close,
  type Compressed,
  type Exchange,
  fragments,
  frame,
  type Request,
  type Response,
  type Role
} from "./case.ts"
import { agree, type Agreed, compressor, decompressor } from "./deflate.ts"
import {
  faultOfRequest,
  faultOfResponse,
  goodRequest,
  goodResponse,
  headerOf,
  lines,
  responseTo,
  statusOf
} from "./handshake.ts"
import { Peer } from "./peer.ts"
import type { ClientSubject, ServerSubject, Subject } from "./subjects.ts"
import { encode, type Frame, opcodes, type Received } from "./wire.ts"

/** What became of a case. `said` is what was seen: why it failed, or how a handshake ended. */
export interface Verdict {
  readonly ok: boolean
  readonly said: string
}

const passed: Verdict = { ok: true, said: "" }
const failure = (said: string): Verdict => ({ ok: false, said })

const host = "127.0.0.1"

/** How much of a case that repeats itself is run: a number of messages, or a number of their bytes. */
export interface Effort {
  readonly messages: number
  readonly bytes: number
}

/** Enough to see that the window is kept, or not, and that a message of more than a slice comes through. */
export const fewMessages: Effort = { messages: 20, bytes: 256 * 1024 }

/** Runs a case; what is not over after `patience` milliseconds has failed. */
export const run = (test: Case, subject: Subject, patience: number, effort: Effort): Promise<Verdict> => {
  switch (test.kind) {
    case "exchange":
      return subject.role === "server"
        ? exchangeWithServer(test, subject, patience)
        : exchangeWithClient(test, subject, patience)
    case "compressed":
      return subject.role === "server"
        ? compressedWithServer(test, subject, patience, effort)
        : compressedWithClient(test, subject, patience, effort)
    case "request":
      if (subject.role === "server") return request(test, subject, patience)
      break
    case "response":
      if (subject.role === "client") return response(test, subject, patience)
      break
  }
  throw new Error(`${test.id} is not for a ${subject.role}`)
}

// -----------------------------------------------------------------------------
// Handshakes
// -----------------------------------------------------------------------------

const connectTo = (port: number): Promise<Net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Net.connect({ port, host, allowHalfOpen: true }, () => resolve(socket))
    socket.once("error", reject)
  })

/** Has a client connect to a server of the peer's, and gives what it ends with beside its socket. */
const clientOf = async (
  subject: ClientSubject,
  protocols: ReadonlyArray<string>,
  compresses = false
): Promise<{ readonly socket: Net.Socket; readonly end: Promise<string | undefined> }> => {
  const server = Net.createServer({ allowHalfOpen: true })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const connected = new Promise<Net.Socket>((resolve) => server.once("connection", resolve))
  const end = subject.connect((server.address() as Net.AddressInfo).port, protocols, compresses)
  const socket = await connected
  server.close()
  return { socket, end }
}

const request = async (test: Request, subject: ServerSubject, patience: number): Promise<Verdict> => {
  const peer = new Peer(await connectTo(subject.port), false, patience)
  await peer.write(Buffer.from(test.text, "latin1"))
  await peer.until(() => peer.head !== undefined)
  const { head } = peer
  const status = head === undefined ? undefined : statusOf(head)
  await peer.leave()
  if (status === undefined || status === 101) {
    const fault = faultOfResponse(head)
    if (fault !== undefined) return failure(fault)
  }
  const right = subject.own ? status === test.status : (status === 101) === (test.status === 101)
  return { ok: right, said: status === 101 ? "accepted" : `refused with ${status}` }
}

const response = async (test: Response, subject: ClientSubject, patience: number): Promise<Verdict> => {
  const { end, socket } = await clientOf(subject, test.protocols)
  const peer = new Peer(socket, true, patience)
  await peer.until(() => peer.head !== undefined)
  const fault = faultOfRequest(peer.head)
  if (fault !== undefined) {
    socket.destroy()
    return failure(fault)
  }
  const accepts = test.error === undefined
  await peer.write(responseTo(peer.head!, test.text))
  if (test.ends) socket.end()
  if (accepts) {
    await peer.write(encode(close(1000), false))
    await peer.until(() => peer.closed)
    socket.end()
  }
  await peer.until(() => false)
  await peer.leave()
  if (peer.late) return failure("waited for more")
  const error = await end
  const said = error === undefined ? "accepted" : subject.own ? `refused: ${error}` : "refused"
  if (!accepts && peer.reader.frames.length > 0) return failure(`${said}, but sent frames`)
  return { ok: subject.own ? error === test.error : (error === undefined) === accepts, said }
}

// -----------------------------------------------------------------------------
// Exchanges
// -----------------------------------------------------------------------------

const exchangeWithServer = async (test: Exchange, subject: ServerSubject, patience: number): Promise<Verdict> => {
  const peer = new Peer(await connectTo(subject.port), false, patience)
  const early = await play(test, peer, "server", Buffer.from(lines(...goodRequest)))
  // The server ends TCP first (§7.1.1), whichever end began to close, without any action of the peer.
  await peer.until(() => false)
  await peer.leave()
  return verdictOf(faultOfResponse(peer.head) ?? early ?? faultOf(test, peer))
}

const exchangeWithClient = async (test: Exchange, subject: ClientSubject, patience: number): Promise<Verdict> => {
  const { end, socket } = await clientOf(subject, [])
  const peer = new Peer(socket, true, patience)
  await peer.until(() => peer.head !== undefined)
  const fault = faultOfRequest(peer.head)
  if (fault !== undefined) {
    socket.destroy()
    return failure(fault)
  }
  const early = await play(test, peer, "client", responseTo(peer.head!, lines(...goodResponse)))
  await leaveClient(test, peer)
  const refusal = await end
  return verdictOf(refusal ?? early ?? faultOf(test, peer))
}

/** A client waits until the server ends TCP (§7.1.1), unless it fails the connection. */
const leaveClient = async ({ failed }: Pick<Exchange, "failed">, peer: Peer): Promise<void> => {
  await peer.until(() => peer.closed)
  if (!failed) peer.socket.end()
  await peer.until(() => false)
  await peer.leave()
}

const verdictOf = (fault: string | undefined): Verdict => fault === undefined ? passed : failure(fault)

/** Takes the steps of a case, the peer's half of the handshake first. Answers what came too early, if anything did. */
const play = async (test: Exchange, peer: Peer, role: Role, opening: Buffer): Promise<string | undefined> => {
  // What is sent with the frames of the first step, if it is.
  let before: Buffer = Buffer.alloc(0)
  if (test.opening === "with frames") before = opening
  else {
    await peer.write(opening, test.opening === "bytes" ? 1 : undefined)
    if (role === "server") await peer.until(() => peer.head !== undefined)
  }
  for (const step of test.steps) {
    if (peer.over) return undefined
    if ("send" in step) {
      const encoded = step.send.map((piece) => encode(piece, role === "server"))
      if (step.chop === "frames") { for (const bytes of encoded) await peer.write(bytes) }
      else await peer.write(Buffer.concat([before, ...encoded]), step.chop === "once" ? undefined : step.chop)
      before = Buffer.alloc(0)
    } else if ("until" in step) await peer.until(() => peer.reader.frames.length >= step.until || peer.closed)
    else if ("quiet" in step) {
      if (!await peer.quiet()) return "reacted too early"
    } else peer.socket.end()
  }
  return undefined
}

const codeOf = ({ payload }: Received): Exchange["close"] =>
  payload.length >= 2 ? payload.readUInt16BE(0) : "without a code"

/** What is wrong with what came back, if anything is. */
const faultOf = (
  test: Pick<Exchange, "frames" | "enough" | "close" | "failed">,
  { ended, late, reader }: Peer
): string | undefined => {
  if (reader.fault !== undefined) return reader.fault
  const at = reader.frames.findIndex(({ opcode }) => opcode === opcodes.close)
  const answers = at < 0 ? reader.frames : reader.frames.slice(0, at)
  const code = at < 0 ? "none" : codeOf(reader.frames[at])
  const expected = test.frames
  const closing = code === "none" ? (late ? "waited for more" : "ended without a close frame") : `closed with ${code}`
  const differs = answers.some(({ fin, opcode, payload }, i) =>
    expected[i] !== undefined && !(fin && opcode === expected[i].opcode && payload.equals(expected[i].payload))
  )
  if (differs) return "answered something else"
  if (answers.length > expected.length) return test.failed ? "accepted" : "answered too much"
  if (answers.length < (test.enough ?? expected.length) || code !== test.close) return closing
  if (at >= 0 && at < reader.frames.length - 1) return "sent frames after the close frame"
  if (reader.torn) return "ended within a frame"
  // A client's masks must not be foreseen (§5.3).
  if (reader.frames.some(({ key }, i) => key !== undefined && key === reader.frames[i - 1]?.key)) {
    return "used a mask twice"
  }
  return ended === "in order" ? undefined : ended === undefined ? "did not end TCP" : "reset TCP"
}

// -----------------------------------------------------------------------------
// Compressed messages
// -----------------------------------------------------------------------------

const extensionsHeader = "sec-websocket-extensions"

/** What is left once all messages have been echoed: the closing handshake. */
const closing = { frames: [], close: 1000, failed: false } as const

const compressedWithServer = async (
  test: Compressed,
  subject: ServerSubject,
  patience: number,
  effort: Effort
): Promise<Verdict> => {
  const peer = new Peer(await connectTo(subject.deflatePort), false, patience)
  await peer.write(Buffer.from(lines(...goodRequest, `Sec-WebSocket-Extensions: ${test.offers}`)))
  await peer.until(() => peer.head !== undefined)
  const agreed = agree(test.offers, headerOf(peer.head ?? "", extensionsHeader))
  const fault = faultOfResponse(peer.head, true)
    ?? (typeof agreed === "string" ? agreed : await converse(test, peer, "server", agreed, effort))
  if (fault === undefined) await peer.until(() => false)
  await peer.leave()
  return verdictOf(fault ?? faultOf(closing, peer))
}

const compressedWithClient = async (
  test: Compressed,
  subject: ClientSubject,
  patience: number,
  effort: Effort
): Promise<Verdict> => {
  const { end, socket } = await clientOf(subject, [], true)
  const peer = new Peer(socket, true, patience)
  await peer.until(() => peer.head !== undefined)
  const agreed = agree(headerOf(peer.head ?? "", extensionsHeader), test.answer)
  const wrong = faultOfRequest(peer.head) ?? (typeof agreed === "string" ? agreed : undefined)
  if (wrong !== undefined) {
    socket.destroy()
    return failure(wrong)
  }
  await peer.write(responseTo(peer.head!, lines(...goodResponse, `Sec-WebSocket-Extensions: ${test.answer}`)))
  const fault = await converse(test, peer, "client", agreed as Agreed, effort)
  if (fault === undefined) await leaveClient(closing, peer)
  else await peer.leave()
  return verdictOf(await end ?? fault ?? faultOf(closing, peer))
}

/** Sends each message after the echo of the last, and a close frame after all. Answers what is wrong with an echo. */
const converse = async (
  test: Compressed,
  peer: Peer,
  role: Role,
  agreed: Agreed,
  effort: Effort
): Promise<string | undefined> => {
  const { frameSize, opcode, payload, size } = test
  const compress = compressor(role === "server" ? agreed.client : agreed.server)
  const decompress = decompressor(agreed[role])
  const count = Math.min(test.count, effort.messages, Math.max(2, Math.floor(effort.bytes / size)))
  const { reader } = peer
  reader.reservedBits = 4
  let [plain, echoed] = [0, 0]
  // The next message is compressed while the echo of the last is on its way.
  let next = compress(payload(0))
  for (let i = 0; i < count; i++) {
    const frames = compressedFrames(opcode, await next, frameSize)
    if (i + 1 < count) next = compress(payload(i + 1))
    await peer.write(Buffer.concat(frames.map((it) => encode(it, role === "server"))))
    await peer.until(() => peer.closed || reader.frames.at(-1)?.fin === true)
    const echo = reader.frames.splice(0)
    if (reader.fault !== undefined) return reader.fault
    if (echo.at(-1)?.fin !== true) return peer.late ? "waited for more" : "ended before the echo"
    const bytes = Buffer.concat(echo.map((it) => it.payload))
    const inOrder = echo.every((it, n) =>
      it.opcode === (n === 0 ? opcode : opcodes.continuation) && (n === 0 || it.rsv === 0)
      && it.fin === (n === echo.length - 1)
    )
    const whole = echo[0].rsv === 0 ? bytes : await decompress(bytes).catch(() => undefined)
    if (whole === undefined) return "sent what cannot be decompressed"
    if (!inOrder || !whole.equals(payload(i))) return "answered something else"
    plain += whole.length
    echoed += bytes.length
  }
  if (test.shrinks && echoed >= plain) return "did not compress"
  await peer.write(encode(close(1000), role === "server"))
  return undefined
}

/** The frames of a compressed message: RSV1 is set on the first (RFC 7692 §6). */
const compressedFrames = (opcode: number, compressed: Buffer, size = compressed.length): ReadonlyArray<Frame> => {
  const [first, ...more] = fragments(
    (payload, options) => frame(opcode, payload, options),
    compressed,
    Math.max(1, size)
  )
  return [{ ...first, rsv: 4 }, ...more]
}
