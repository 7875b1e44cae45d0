/** Random words for mask keys (RFC 6455 §10.3) and handshakes (§4.1). One call to the system makes many of them. */
import { fillRandom } from "#platform"

const words = new Int32Array(2048)
let used = words.length

/** Returns 32 bits that no peer can predict, as a signed integer. */
export const randomWord = (): number => {
  if (used === words.length) {
    fillRandom(words)
    used = 0
  }
  return words[used++]
}
