/** How the server fares. */
export interface Sample {
  /** Memory in use once all garbage is gone, in bytes. */
  readonly heap: number
  readonly rss: number
  readonly handles: number
  readonly descriptors: number
  /** Connections that are open. */
  readonly open: number
  /** Connections that there have been. */
  readonly connections: number
  readonly ends: Readonly<Record<string, number>>
  readonly received: Readonly<Record<string, number>>
  readonly outOfOrder: number
}
