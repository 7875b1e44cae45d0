/** A file of the bundle for Node. */
export interface OutputFile {
  readonly type: "chunk" | "asset"
  readonly fileName: string
  readonly code?: string
  readonly isEntry?: boolean
}

export const bundleNode: (dir?: string) => Promise<ReadonlyArray<OutputFile>>
