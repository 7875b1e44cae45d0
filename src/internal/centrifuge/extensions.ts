/** What our servers and clients understand beyond the public protocol: keys of publications, and their positions in replies. */

/** The version that our servers tell, and by which our clients know them. */
export const serverVersion = "effect-ws"
