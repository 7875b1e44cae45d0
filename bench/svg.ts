/** What the charts have in common. */

/**
 * An image does not learn the colors of the page that shows it, only those that the reader prefers. So a chart brings
 * its own background.
 */
const colors = `
    .page { fill: #ffffff }
    text { fill: #3d444d }
    @media (prefers-color-scheme: dark) { .page { fill: #0d1117 } text { fill: #d1d7e0 } }`

export interface Drawing {
  readonly width: number
  readonly height: number
  readonly title: string
  /** Rules of CSS, one a line. The color of texts is given. */
  readonly style: ReadonlyArray<string>
  readonly parts: ReadonlyArray<string>
}

export const drawing = ({ height, parts, style, title, width }: Drawing): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" role="img">`,
    `  <title>${title}</title>`,
    `  <style>${colors}${style.map((rule) => `\n    ${rule}`).join("")}\n  </style>`,
    `  <rect class="page" width="${width}" height="${height}" rx="6"/>`,
    ...parts.map((part) => `  ${part}`),
    "</svg>\n"
  ].join("\n")
