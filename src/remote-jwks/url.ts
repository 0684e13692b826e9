// What a URL must be like before its host is even looked up. Pure.
import { Problem } from '../errors.ts'

const MAX_URL_LENGTH = 2048
/** Refused by name, for they mean this machine whatever a resolver says. */
const LOCAL_NAMES = ['localhost', 'host.docker.internal']

/** The texts are those of the identity contract, section 4. */
export const NO_CREDENTIALS = 'URLs with user credentials (e.g., user:pass@) are not allowed'
export const NO_LOCAL = 'Local IPs not allowed as URL'
export const NO_ADDRESS = 'Could not resolve hostname to any IP address'

export const refused = (reason: string, cause?: unknown): Problem =>
  new Problem('url_refused', reason, { cause })

/**
 * Reads the URL of an outgoing request: http or https, at most 2048 characters, no credentials, no
 * name of this machine (identity contract section 4). Parsing (WHATWG) already turns `127.1`,
 * `0x7f.1`, `2130706433`, percent escapes and full-width letters into what they mean.
 * Problem `url_refused`, which never repeats the URL.
 */
export function parseRemoteUrl(text: string): URL {
  if (text.length > MAX_URL_LENGTH) throw refused('The URL is longer than 2048 characters')
  // The parser would drop tabs and line ends, and two readers would see two hosts.
  const url = /[\s\p{Cc}]/u.test(text) ? null : URL.parse(text)
  if (!url) throw refused('The URL is not valid')
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw refused('Only http and https URLs are allowed')
  }
  // An empty `user@` or `:@` leaves no trace in the parsed form.
  if (url.username || url.password || /^[^/?#\\]*[/\\]+[^/?#\\]*@/.test(text)) {
    throw refused(NO_CREDENTIALS)
  }
  const host = hostOf(url)
  if (host === '') throw refused('The URL is not valid')
  if (LOCAL_NAMES.includes(host)) throw refused(NO_LOCAL)
  return url
}

/**
 * The host for comparisons and for TLS: in lower case, without the brackets of an IPv6 literal and
 * without a final dot.
 */
export const hostOf = (url: URL): string => withoutBrackets(url).replace(/\.$/, '')

/** The host to look up: a final dot stays, it keeps the resolver from adding a search domain. */
export const withoutBrackets = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '')
