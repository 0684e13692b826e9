import type { IncomingMessage } from 'node:http'
import { gzipSync } from 'node:zlib'
import type { FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import { Problem } from '../errors.ts'
import {
  acceptsGzip,
  isFault,
  isPretty,
  parseReadQuery,
  type QueryFault,
  queryOf,
} from '../http/blocking-query.ts'
import {
  errorHandler,
  type Format,
  notFoundHandler,
  problemJson,
  toProblem,
} from '../http/problem.ts'
import type { App, Routes } from '../http/server.ts'
import type { Duration } from '../time.ts'
import { type Answer, type Bytes, corsOf, createHeaders, JSON_TYPE, write } from './prebuilt.ts'
import { JwkSet, ProviderConfiguration } from './schema.ts'

// What relying parties read. Prebuilt bytes go out with one writeHead: no database, no JSON, no hooks, no log line.

export interface DiscoveryParts {
  /** @throws Problem `ring_not_found`, `key_unusable`, `not_ready` */
  jwks(ring: string, postQuantum: boolean): Omit<Answer, 'headers'>
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

const TEXT = 'text/plain; charset=utf-8'

/** What the Nomad wire has of its own; every other method than GET is invalid there (contract section 1.1). */
const HOST_PATHS = ['/.well-known/jwks.json', '/.well-known/openid-configuration']
const INVALID_METHOD: QueryFault = { status: 405, text: 'Invalid method' }

export function discoveryRoutes(parts: DiscoveryParts): Routes {
  const { nomad } = parts
  const cors = corsOf(nomad)
  const headersOf = createHeaders(nomad)

  function refuse(reply: FastifyReply, { status, text }: QueryFault): FastifyReply {
    return reply.code(status).type(TEXT).send(Buffer.from(text))
  }

  interface Asked {
    ring: string
    postQuantum?: boolean
    /** What was waited for is nobody else's to keep. */
    held?: boolean
  }

  function sendJwks(request: FastifyRequest, reply: FastifyReply, asked: Asked): void {
    const { ring, postQuantum = false, held = false } = asked
    const published = { ...parts.jwks(ring, postQuantum), headers: headersOf(ring) }
    const answer = held ? { ...published, cacheControl: 'no-store' } : published
    reply.hijack()
    parts.count(write(request.raw, reply.raw, answer))
  }

  const HOST: Asked = { ring: 'default' }

  /** The host's own set. Without a query there is no promise on the way: this is what most requests ask for. */
  function hostJwks(request: FastifyRequest, reply: FastifyReply): unknown {
    if (nomad && request.url.includes('?')) return queriedJwks(request, reply, nomad)
    return sendJwks(request, reply, HOST)
  }

  /** The Nomad wire, with blocking queries (contract section 3). */
  async function queriedJwks(request: FastifyRequest, reply: FastifyReply, nomad: NomadWire) {
    const query = queryOf(request.url)
    const read = parseReadQuery(query, nomad.region)
    if (isFault(read)) {
      parts.count(read.status)
      return refuse(reply, read)
    }
    if (read.index > 0n) {
      await nomad.hold(request.raw, request.ip, read.index, read.wait)
      if (request.raw.socket.destroyed) return reply.hijack()
    }
    const held = query.has('index')
    if (!read.pretty) return sendJwks(request, reply, { ...HOST, held })
    const { document, cacheControl } = parts.jwks('default', false)
    const caching = held ? 'no-store' : cacheControl
    parts.count(200)
    return sendPretty(request, reply, document, [
      ...headersOf('default'),
      ...(caching === undefined ? [] : ['Cache-Control', caching]),
    ])
  }

  /** For people: indented, made on the spot, without the ETag of the prebuilt bytes (contract section 1.4). */
  function sendPretty(
    request: FastifyRequest,
    reply: FastifyReply,
    document: Bytes,
    headers: readonly string[],
  ): FastifyReply {
    for (let at = 0; at < headers.length; at += 2) reply.header(headers[at] ?? '', headers[at + 1])
    const text = `${JSON.stringify(JSON.parse(document.body.toString()), null, 4)}\n`
    const zipped = acceptsGzip(request.headers['accept-encoding'])
    if (zipped) reply.header('content-encoding', 'gzip')
    return reply
      .header('vary', 'Accept-Encoding')
      .type(JSON_TYPE)
      .send(zipped ? gzipSync(text) : Buffer.from(text))
  }

  function sendConfiguration(request: FastifyRequest, reply: FastifyReply, ring: string) {
    const document = parts.configuration(ring)
    if (!document) throw new Problem('discovery_disabled')
    if (nomad && request.url.includes('?') && isPretty(queryOf(request.url))) {
      return sendPretty(request, reply, document, cors)
    }
    reply.hijack()
    write(request.raw, reply.raw, { document, cacheControl: undefined, headers: cors })
    return undefined
  }

  type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown
  const quiet = { config: { capability: 'public', log: false } as const }
  const ringOf = (request: FastifyRequest) => (request.params as { ring: string }).ring

  function publish(app: App, url: string, summary: string, handler: Handler): void {
    const shape: unknown = url.endsWith('.json') ? JwkSet : ProviderConfiguration
    const schema = { tags: ['publication'], summary, response: { 200: shape } }
    app.route({ method: 'GET', url, schema, ...quiet, handler })
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
    for (const url of HOST_PATHS) {
      app.route({
        method: nomad?.strict ? [...others, 'HEAD', 'OPTIONS'] : others,
        url,
        schema: { hide: true },
        config: { capability: 'public' },
        // Answered before a body is read.
        onRequest: async (_, reply) => refuse(reply, INVALID_METHOD),
        handler: async () => undefined,
      })
      if (!nomad?.strict)
        app.route({ method: 'OPTIONS', url, schema: { hide: true }, ...quiet, handler: preflight })
    }
  }

  /** Methods that the router does not know end here: on a path that is there, they are as invalid as the others. */
  const oddMethods: Routes = async (app) => {
    const notFound = notFoundHandler(problemJson)
    app.setNotFoundHandler((request, reply) =>
      HOST_PATHS.includes(request.url.split('?', 1)[0] ?? '')
        ? refuse(reply, INVALID_METHOD)
        : notFound(request, reply),
    )
  }

  const rings: Routes = async (app) => {
    countErrors(app, problemJson)
    publish(
      app,
      '/.well-known/jwks-pq.json',
      'Post-quantum keys of the default ring',
      (request, reply) => sendJwks(request, reply, { ring: 'default', postQuantum: true }),
    )
    for (const name of ['jwks.json', 'jwks-pq.json']) {
      const postQuantum = name === 'jwks-pq.json'
      const summary = postQuantum ? 'Post-quantum keys of a ring' : 'The JWK Set of a ring'
      publish(app, `/rings/:ring/.well-known/${name}`, summary, (request, reply) =>
        sendJwks(request, reply, { ring: ringOf(request), postQuantum }),
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
      return sendJwks(request, reply, { ring, postQuantum: name === 'jwks-pq.json' })
    }
    throw new Problem('not_found', `There is no ${request.method} ${path.slice(0, 300)} here`)
  }

  return async (app) => {
    await app.register(host)
    await app.register(oddMethods, { prefix: '/.well-known' })
    await app.register(rings)
  }
}

/** Errors on the host's own documents, in the words of the Nomad wire. */
export const discoveryFormat: Format = (problem) => ({
  status: problem.status,
  type: TEXT,
  body: problem.detail,
})
