export interface Mutant {
  readonly file: string
  readonly line: number
  readonly within: string
  readonly before: string
  readonly after: string
  readonly code: string
}
export const mutantsOf: (file: string, source: string) => Array<Mutant>
