import { parseDuration, SECOND, toSeconds } from '../time.ts'
import type { UriRequest } from './signing.ts'
import { MAX_URI } from './uri.ts'

// The everyday request to sign: a URI and a ttl, perhaps a container; or a batch of those. The schemas take longer to
// say the same of it than the signature takes.

/** Exactly what `ServiceParams` makes of the parameters of a path; undefined: ask it. */
export function readPlainService(params: unknown): { xml_id: string } | undefined {
  if (typeof params !== 'object' || params === null || Object.keys(params).length !== 1) {
    return undefined
  }
  const { xml_id } = params as { xml_id?: unknown }
  return typeof xml_id === 'string' && xml_id !== '' && xml_id.length <= 256
    ? { xml_id }
    : undefined
}

const MAX_TTL_TEXT = 64
const MAX_BATCH = 1000

/** Callers use the same few. */
const MAX_KNOWN = 64
const known = new Map<string, number>()

function secondsOf(ttl: unknown): number | undefined {
  if (typeof ttl !== 'string' || ttl.length > MAX_TTL_TEXT) return undefined
  const seen = known.get(ttl)
  if (seen !== undefined) return seen
  const span = parseDuration(ttl)
  if (span === undefined || span < SECOND) return undefined
  const seconds = toSeconds(span)
  if (known.size < MAX_KNOWN) known.set(ttl, seconds)
  return seconds
}

const CONTAINERS = ['exact', 'any-query', 'below', 'hash'] as const

function readOne(body: object): UriRequest | undefined {
  const members = Object.keys(body).length
  const { uri, ttl, container } = body as { uri?: unknown; ttl?: unknown; container?: unknown }
  if (typeof uri !== 'string' || uri === '' || uri.length > MAX_URI) return undefined
  const seconds = secondsOf(ttl)
  if (seconds === undefined) return undefined
  if (members === 2) return { uri, ttl: seconds }
  const form = CONTAINERS.find((one) => one === container)
  return members === 3 && form ? { uri, ttl: seconds, container: form } : undefined
}

/** Exactly what `SignUriRequestBody` makes of a parsed JSON body; undefined: ask it. */
export function readPlainUris(body: unknown): UriRequest | { batch: UriRequest[] } | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const { batch } = body as { batch?: unknown }
  if (batch === undefined) return readOne(body)
  if (!Array.isArray(batch) || batch.length < 1 || batch.length > MAX_BATCH) return undefined
  if (Object.keys(body).length !== 1) return undefined
  const all: UriRequest[] = []
  for (const item of batch as unknown[]) {
    const one = typeof item === 'object' && item !== null ? readOne(item) : undefined
    if (!one) return undefined
    all.push(one)
  }
  return { batch: all }
}
