export interface Example {
  readonly name: string
  /** Where it is written to. */
  readonly file: string
  readonly code: string
  /** Where it is from, and under which heading. */
  readonly source: string
  readonly heading: string
  readonly asserts: boolean
  readonly tests: boolean
}
export const readExamples: () => ReadonlyArray<Example>
export const writeExamples: () => ReadonlyArray<Example>
