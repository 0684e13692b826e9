import type { IncomingMessage, ServerResponse } from 'node:http'
import { acceptsGzip } from '../http/blocking-query.ts'

// Prebuilt bytes on the wire: one writeHead, one end.

/** Prebuilt bytes with their ETags; `keyring/jwks.ts` makes them. */
export interface Bytes {
  body: Buffer
  gzip: Buffer
  etag: string
  gzipEtag: string
}

export interface Answer {
  document: Bytes
  /** Undefined: no caching is promised (an empty set). */
  cacheControl: string | undefined
  /** Names and values in turn. */
  headers: readonly string[]
}

export const JSON_TYPE = 'application/json'

/** 304 when the client has these very bytes (RFC 9110 section 13.1.2); the status that was sent. */
export function write(request: IncomingMessage, response: ServerResponse, answer: Answer): number {
  const zipped = acceptsGzip(request.headers['accept-encoding'])
  const { document, cacheControl, headers } = answer
  const etag = zipped ? document.gzipEtag : document.etag
  const common = [...headers, 'ETag', etag, 'Vary', 'Accept-Encoding']
  if (cacheControl !== undefined) common.push('Cache-Control', cacheControl)
  if (matches(request.headers['if-none-match'], document)) {
    response.writeHead(304, common)
    response.end()
    return 304
  }
  const body = zipped ? document.gzip : document.body
  if (zipped) common.push('Content-Encoding', 'gzip')
  common.push('Content-Type', JSON_TYPE, 'Content-Length', String(body.length))
  response.writeHead(200, common)
  response.end(request.method === 'HEAD' ? undefined : body)
  return 200
}

/** Weak comparison, either encoding: the set is the same. */
function matches(header: string | undefined, { etag, gzipEtag }: Bytes): boolean {
  if (header === undefined) return false
  if (header === etag || header === gzipEtag) return true
  if (header.trim() === '*') return true
  return header.split(',').some((part) => {
    const tag = part.trim().replace(/^W\//, '')
    return tag === etag || tag === gzipEtag
  })
}

const CORS: readonly string[] = ['Access-Control-Allow-Origin', '*']

/** Anybody's script may read what is public (product.md 5.5); the imitated wire to the letter has no such header. */
export const corsOf = (nomad: { strict: boolean } | undefined) => (nomad?.strict ? [] : CORS)

/** The headers of a document by its ring: the host's own set carries the index where the Nomad wire is on. */
export function createHeaders(
  nomad: { strict: boolean; index(): bigint } | undefined,
): (ring: string) => readonly string[] {
  const cors = corsOf(nomad)
  /** Made anew only when the index moves. */
  let host: { index: bigint; headers: readonly string[] } | undefined
  return (ring) => {
    if (!nomad || ring !== 'default') return cors
    const index = nomad.index()
    if (host?.index !== index) {
      const indexed = ['X-Nomad-Index', String(index)]
      const consistency = ['X-Nomad-LastContact', '0', 'X-Nomad-KnownLeader', 'true']
      host = { index, headers: [...indexed, ...consistency, ...cors] }
    }
    return host.headers
  }
}

export interface DirectParts {
  /** Throws where the routes would have to say why not. */
  jwks(ring: string, postQuantum: boolean): Omit<Answer, 'headers'>
  count(status: number): void
  nomad: Parameters<typeof createHeaders>[0]
}

const HOST_JWKS = '/.well-known/jwks.json'

/**
 * Answers `GET /.well-known/jwks.json` and nothing else, as its route would; false leaves the request to the routes.
 * It is what nearly all requests ask for, and routing them takes a tenth as long as answering them.
 */
export function createDirectAnswer(parts: DirectParts) {
  const headersOf = createHeaders(parts.nomad)
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    if (request.url !== HOST_JWKS || request.method !== 'GET') return false
    let published: Omit<Answer, 'headers'>
    try {
      published = parts.jwks('default', false)
    } catch {
      return false
    }
    parts.count(write(request, response, { ...published, headers: headersOf('default') }))
    return true
  }
}
