/** The values of `readyState` of a WebSocket (WHATWG WebSockets). */
export const states = { connecting: 0, open: 1, closing: 2, closed: 3 } as const
