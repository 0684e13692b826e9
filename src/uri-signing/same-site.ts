import type { IncomingHttpHeaders } from 'node:http'

// Whether another site made a browser send a request (product.md section 4). Pure.

/** What a browser says of a page of ours, or of a person who typed an address. */
const OWN: ReadonlySet<string> = new Set(['same-origin', 'none'])

/**
 * True when `Sec-Fetch-Site` or `Origin` names another site than `host`, our own with its port as the client wrote it.
 * A request with neither header is no browser's. A neighbour below the same domain is another site.
 */
export function isFromElsewhere(headers: IncomingHttpHeaders, host: string): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined && !OWN.has([site].flat().join().toLowerCase())) return true
  const { origin } = headers
  if (origin === undefined) return false
  return !URL.canParse(origin) || new URL(origin).host !== hostOf(origin, host)
}

/** Without the port that the scheme of `origin` implies, and in lower case, as URLs have it. */
function hostOf(origin: string, host: string): string | undefined {
  const text = `${new URL(origin).protocol}//${host}`
  return URL.canParse(text) ? new URL(text).host : undefined
}
