/** Plays a case to a server or a client over TCP, and judges what comes back. */
import * as Net from "node:net"
import { type Case, close, type Exchange, type Request, type Response, type Role } from "./case.ts"
import { faultOfRequest, faultOfResponse, goodRequest, goodResponse, lines, responseTo, statusOf } from "./handshake.ts"
import { Peer } from "./peer.ts"
import type { ClientSubject, ServerSubject, Subject } from "./subjects.ts"
import { encode, opcodes, type Received } from "./wire.ts"

/** What became of a case. `said` is what was seen: why it failed, or how a handshake ended. */
export interface Verdict {
  readonly ok: boolean
  readonly said: string
}

const passed: Verdict = { ok: true, said: "" }
const failure = (said: string): Verdict => ({ ok: false, said })

const host = "127.0.0.1"

/** Runs a case; what is not over after `patience` milliseconds has failed. */
export const run = (test: Case, subject: Subject, patience: number): Promise<Verdict> => {
  switch (test.kind) {
    case "exchange":
      return subject.role === "server"
        ? exchangeWithServer(test, subject, patience)
        : exchangeWithClient(test, subject, patience)
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
  protocols: ReadonlyArray<string>
): Promise<{ readonly socket: Net.Socket; readonly end: Promise<string | undefined> }> => {
  const server = Net.createServer({ allowHalfOpen: true })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const connected = new Promise<Net.Socket>((resolve) => server.once("connection", resolve))
  const end = subject.connect((server.address() as Net.AddressInfo).port, protocols)
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
  // The server ends TCP first (§7.1.1), whoever began to close: nothing that the peer does makes it.
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
  await peer.until(() => peer.closed)
  // A client waits until the server ends TCP (§7.1.1), unless it fails the connection.
  if (!test.failed) peer.socket.end()
  await peer.until(() => false)
  await peer.leave()
  const refusal = await end
  return verdictOf(refusal ?? early ?? faultOf(test, peer))
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
const faultOf = (test: Exchange, { ended, late, reader }: Peer): string | undefined => {
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
