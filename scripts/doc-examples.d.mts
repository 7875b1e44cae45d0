export interface Example {
  readonly name: string
  /** Where it was written to. */
  readonly file: string
  /** Where it is from, and under which heading. */
  readonly source: string
  readonly heading: string
  readonly asserts: boolean
  readonly tests: boolean
}
export const writeExamples: () => ReadonlyArray<Example>
