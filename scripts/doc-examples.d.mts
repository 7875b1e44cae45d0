export const writeExamples: () => ReadonlyArray<{
  readonly name: string
  readonly file: string
  readonly asserts: boolean
}>
