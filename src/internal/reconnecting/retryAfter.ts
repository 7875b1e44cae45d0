/** `Retry-After`: how long a server asks its clients to wait (RFC 9110 §10.2.3). */

/**
 * Reads the value of the header: seconds, or a date. Returns how long to wait
 * after `now`, both in milliseconds; undefined if the value is invalid.
 */
export const readRetryAfter = (value: string, now: number): number | undefined => {
  if (/^\d+$/.test(value)) return Number(value) * 1000
  const date = parseHttpDate(value, now)
  return date === undefined ? undefined : Math.max(0, date - now)
}

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
const time = String.raw`([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)`
/** Sun, 06 Nov 1994 08:49:37 GMT */
const imfFixdate = new RegExp(String.raw`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (\w{3}) (\d{4}) ${time} GMT$`)
/** Sunday, 06-Nov-94 08:49:37 GMT */
const rfc850Date = new RegExp(
  String.raw`^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\d\d)-(\w{3})-(\d\d) ${time} GMT$`
)
/** Sun Nov  6 08:49:37 1994 */
const asctimeDate = new RegExp(String.raw`^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\w{3}) ([ \d]\d) ${time} (\d{4})$`)

/** Parses the three formats that a recipient must accept (RFC 9110 §5.6.7). */
const parseHttpDate = (value: string, now: number): number | undefined => {
  const fixed = imfFixdate.exec(value)
  if (fixed !== null) {
    const [, day, month, year, ...clock] = fixed
    return toMillis(Number(year), month, day, clock)
  }
  const asctime = asctimeDate.exec(value)
  if (asctime !== null) {
    const [, month, day, hours, minutes, seconds, year] = asctime
    return toMillis(Number(year), month, day, [hours, minutes, seconds])
  }
  const short = rfc850Date.exec(value)
  if (short === null) return undefined
  const [, day, month, lastDigits, ...clock] = short
  const thisYear = new Date(now).getUTCFullYear()
  const year = thisYear - thisYear % 100 + Number(lastDigits)
  // More than 50 years ahead means the last century.
  return toMillis(year - thisYear > 50 ? year - 100 : year, month, day, clock)
}

const toMillis = (
  year: number,
  monthName: string,
  dayOfMonth: string,
  [hours, minutes, seconds]: ReadonlyArray<string>
): number | undefined => {
  const month = months.indexOf(monthName)
  const day = Number(dayOfMonth)
  const midnight = Date.UTC(year, month, day)
  // A day that its month does not have would be one of the next.
  if (month < 0 || new Date(midnight).getUTCDate() !== day) return undefined
  return midnight + ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000
}
