import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import { Problem } from '../errors.ts'
import {
  acceptsGzip,
  isFault,
  parseReadQuery,
  type QueryFault,
  queryOf,
} from '../http/blocking-query.ts'
import { errorHandler, type Format, problemJson, toProblem } from '../http/problem.ts'
import type { App, Routes } from '../http/server.ts'
import type { Duration } from '../time.ts'

// What relying parties read. Prebuilt bytes go out with one writeHead: no database, no JSON, no hooks, no log line.

/** Prebuilt bytes with their ETags; `keyring/jwks.ts` makes them. */
export interface Bytes {
  body: Buffer
  gzip: Buffer
  etag: string
  gzipEtag: string
}

/** A JWK Set as it stands now. */
export interface Published {
  document: Bytes
  /** Undefined: no caching is promised (an empty set). */
  cacheControl: string | undefined
}

export interface DiscoveryParts {
  /** @throws Problem `ring_not_found`, `key_unusable`, `not_ready` */
  jwks(ring: string, postQuantum: boolean): Published
  /** Undefined: the ring has no issuer. */
  configuration(ring: string): Bytes | undefined
  /** Which ring an issuer's own path belongs to, for an issuer such as `https://id.example/team`. */
  ringAtPath(path: string): string | undefined
  /** The wire of the Nomad surface: index headers, blocking queries, 405 for HEAD. Undefined: switched off. */
  nomad: NomadWire | undefined
  /** Counts an answer to a request for a JWK Set. */
  count(status: number): void
}

export interface NomadWire {
  /** `nomad` mode: no HEAD, no OPTIONS, no CORS. */
  strict: boolean
  region: string
  index(): bigint
  /** Resolves when the index passed `after`, the wait is over, or the client left. */
  hold(
    request: IncomingMessage,
    address: string,
    after: bigint,
    wait: Duration | undefined,
  ): Promise<void>
}

const JSON_TYPE = 'application/json'
const TEXT = 'text/plain; charset=utf-8'

interface Answer {
  document: Bytes
  cacheControl: string | undefined
  headers: readonly string[]
}

/** One writeHead, one end; 304 when the client has these very bytes (RFC 9110 section 13.1.2). */
function write(request: IncomingMessage, reply: FastifyReply, answer: Answer): number {
  reply.hijack()
  const zipped = acceptsGzip(request.headers['accept-encoding'])
  const { document, cacheControl, headers } = answer
  const etag = zipped ? document.gzipEtag : document.etag
  const common = [...headers, 'ETag', etag, 'Vary', 'Accept-Encoding']
  if (cacheControl !== undefined) common.push('Cache-Control', cacheControl)
  if (matches(request.headers['if-none-match'], document)) {
    reply.raw.writeHead(304, common)
    reply.raw.end()
    return 304
  }
  const body = zipped ? document.gzip : document.body
  if (zipped) common.push('Content-Encoding', 'gzip')
  common.push('Content-Type', JSON_TYPE, 'Content-Length', String(body.length))
  reply.raw.writeHead(200, common)
  reply.raw.end(request.method === 'HEAD' ? undefined : body)
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

const CORS = ['Access-Control-Allow-Origin', '*'] as const

export function discoveryRoutes(parts: DiscoveryParts): Routes {
  const { nomad } = parts
  const cors = nomad?.strict ? [] : CORS

  function indexHeaders(): string[] {
    if (!nomad) return []
    return [
      ...['X-Nomad-Index', String(nomad.index())],
      ...['X-Nomad-LastContact', '0', 'X-Nomad-KnownLeader', 'true'],
    ]
  }

  function refuse(reply: FastifyReply, { status, text }: QueryFault): FastifyReply {
    return reply.code(status).type(TEXT).send(Buffer.from(text))
  }

  function sendJwks(request: FastifyRequest, reply: FastifyReply, ring: string, held: boolean) {
    const { document, cacheControl } = parts.jwks(ring, request.url.includes('/jwks-pq.json'))
    const own = ring === 'default' ? indexHeaders() : []
    const answer = {
      document,
      // What was waited for is nobody else's to keep.
      cacheControl: held ? 'no-store' : cacheControl,
      headers: own.length > 0 || cors.length > 0 ? [...own, ...cors] : own,
    }
    parts.count(write(request.raw, reply, answer))
  }

  /** The host's own set: the Nomad wire, with blocking queries (contract section 3). */
  async function hostJwks(request: FastifyRequest, reply: FastifyReply) {
    if (!nomad || !request.url.includes('?')) return sendJwks(request, reply, 'default', false)
    const read = parseReadQuery(queryOf(request.url), nomad.region)
    if (isFault(read)) {
      parts.count(read.status)
      return refuse(reply, read)
    }
    if (read.index > 0n) {
      await nomad.hold(request.raw, request.ip, read.index, read.wait)
      if (request.raw.socket.destroyed) return reply.hijack()
    }
    if (read.pretty) return prettyJwks(reply, read.index > 0n)
    return sendJwks(request, reply, 'default', request.url.includes('index='))
  }

  function prettyJwks(reply: FastifyReply, held: boolean): FastifyReply {
    const { document, cacheControl } = parts.jwks('default', false)
    const headers = [...indexHeaders(), ...cors]
    for (let at = 0; at < headers.length; at += 2) reply.header(headers[at] ?? '', headers[at + 1])
    const caching = held ? 'no-store' : cacheControl
    if (caching) reply.header('cache-control', caching)
    parts.count(200)
    const text = `${JSON.stringify(JSON.parse(document.body.toString()), null, 4)}\n`
    return reply.type(JSON_TYPE).send(Buffer.from(text))
  }

  function sendConfiguration(request: FastifyRequest, reply: FastifyReply, ring: string) {
    const document = parts.configuration(ring)
    if (!document) throw new Problem('discovery_disabled')
    write(request.raw, reply, { document, cacheControl: undefined, headers: cors })
  }

  type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown
  const quiet = { config: { capability: 'public', log: false } as const }
  const ringOf = (request: FastifyRequest) => (request.params as { ring: string }).ring

  function publish(app: App, url: string, summary: string, handler: Handler): void {
    app.route({ method: 'GET', url, schema: { tags: ['publication'], summary }, ...quiet, handler })
    if (nomad?.strict) return
    app.route({ method: 'HEAD', url, schema: { hide: true }, ...quiet, handler })
  }

  /** Every failed request for a set is counted too. */
  function countErrors(app: App, format: Format): void {
    const handle = errorHandler(format)
    app.setErrorHandler((error, request, reply) => {
      if (request.url.includes('/jwks')) parts.count(toProblem(error).status)
      return handle(error, request, reply)
    })
  }

  const host: Routes = async (app) => {
    countErrors(app, discoveryFormat)
    publish(app, '/.well-known/jwks.json', 'The JWK Set of the default ring', hostJwks)
    publish(
      app,
      '/.well-known/openid-configuration',
      'OIDC discovery of the default ring',
      (request, reply) => sendConfiguration(request, reply, 'default'),
    )
    const others: HTTPMethods[] = ['POST', 'PUT', 'PATCH', 'DELETE']
    for (const url of ['/.well-known/jwks.json', '/.well-known/openid-configuration']) {
      app.route({
        method: nomad?.strict ? [...others, 'HEAD', 'OPTIONS'] : others,
        url,
        schema: { hide: true },
        config: { capability: 'public' },
        // Answered before a body is read.
        onRequest: async (_, reply) => refuse(reply, { status: 405, text: 'Invalid method' }),
        handler: async () => undefined,
      })
      if (!nomad?.strict)
        app.route({ method: 'OPTIONS', url, schema: { hide: true }, ...quiet, handler: preflight })
    }
  }

  const rings: Routes = async (app) => {
    countErrors(app, problemJson)
    publish(
      app,
      '/.well-known/jwks-pq.json',
      'Post-quantum keys of the default ring',
      (request, reply) => sendJwks(request, reply, 'default', false),
    )
    for (const name of ['jwks.json', 'jwks-pq.json']) {
      const summary = name === 'jwks.json' ? 'The JWK Set of a ring' : 'Post-quantum keys of a ring'
      publish(app, `/rings/:ring/.well-known/${name}`, summary, (request, reply) =>
        sendJwks(request, reply, ringOf(request), false),
      )
    }
    publish(
      app,
      '/rings/:ring/.well-known/openid-configuration',
      'OIDC discovery of a ring',
      (request, reply) => sendConfiguration(request, reply, ringOf(request)),
    )
    for (const method of ['GET', 'HEAD'] as const) {
      const config = { capability: 'public' } as const
      app.route({ method, url: '/*', schema: { hide: true }, config, handler: atIssuerPath })
    }
  }

  function preflight(_request: FastifyRequest, reply: FastifyReply): FastifyReply {
    return reply
      .code(204)
      .header('access-control-allow-origin', '*')
      .header('access-control-allow-methods', 'GET, HEAD')
      .header('access-control-allow-headers', '*')
      .send()
  }

  /** An issuer with a path is also served below that path. */
  function atIssuerPath(request: FastifyRequest, reply: FastifyReply): unknown {
    const path = request.url.split('?', 1)[0] ?? ''
    const [, base, name] = /^(.*)\/\.well-known\/([a-z-]+(?:\.json)?)$/.exec(path) ?? []
    const ring = base ? parts.ringAtPath(base) : undefined
    if (ring !== undefined && name === 'openid-configuration') {
      return sendConfiguration(request, reply, ring)
    }
    if (ring !== undefined && (name === 'jwks.json' || name === 'jwks-pq.json')) {
      return sendJwks(request, reply, ring, false)
    }
    throw new Problem('not_found', `There is no ${request.method} ${path.slice(0, 300)} here`)
  }

  return async (app) => {
    await app.register(host)
    await app.register(rings)
  }
}

/** Errors on the host's own documents, in the words of the Nomad wire. */
export const discoveryFormat: Format = (problem) => ({
  status: problem.status,
  type: TEXT,
  body: problem.detail,
})
