/**
 * The windows of flow control (RFC 9113 §5.2) that this end gives to its peer.
 *
 * Node's own are 64 KiB for a stream and for a whole session, so that one fast
 * stream takes the session's window from all others. Node extends the window of the
 * session with all that arrives, and that of a stream with what is read: a stream
 * that is not read holds back itself, and no other.
 */
import type { Http2Session } from "node:http2"

/** How much a peer may send on a stream that is not read, in bytes. The setting `initialWindowSize`. */
export const streamWindow = 256 * 1024

/** How much a peer may send on all streams of a session before this end reads from the socket, in bytes. */
const sessionWindow = 4 * 1024 * 1024

export const raiseSessionWindow = (session: Http2Session): void => session.setLocalWindowSize(sessionWindow)
