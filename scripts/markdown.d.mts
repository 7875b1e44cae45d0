export const makeAnchors: () => (heading: string) => string
