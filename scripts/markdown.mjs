/** The anchors that GitHub gives to headings: one that occurs again gets a number. */
export const makeAnchors = () => {
  const seen = new Map()
  return (heading) => {
    const slug = heading.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
    const count = seen.get(slug) ?? 0
    seen.set(slug, count + 1)
    return count === 0 ? slug : `${slug}-${count}`
  }
}
