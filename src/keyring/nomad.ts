import { gzipSync } from 'node:zlib'
import type { FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import { Problem } from '../errors.ts'
import type { Requirement } from '../http/auth.ts'
import {
  acceptsGzip,
  isPretty,
  isFault as isReadFault,
  parseReadQuery,
  type QueryFault,
  queryOf,
  type ReadQuery,
} from '../http/blocking-query.ts'
import { errorHandler, notFoundHandler } from '../http/problem.ts'
import { failsWith, type Routes } from '../http/server.ts'
import type { Key } from '../store/keys.ts'
import { toIso } from '../time.ts'
import { type Blocking, holdMillis } from './blocking.ts'
import { wireState } from './changes.ts'
import { plainText } from './errors.ts'
import { isFault, type Operation, parseOperation } from './nomad-query.ts'
import type { Removal } from './removal.ts'
import type { Rotation } from './rotation.ts'
import { NomadDeleted, NomadError, NomadKeys, NomadRotated } from './schema.ts'
import type { View } from './view.ts'

// The imitated routes below /v1/operator/keyring (contract sections 1 to 3).

export interface NomadParts {
  rotation: Rotation
  removal: Removal
  view: View
  blocking: Blocking
  region: string
}

const NEEDS: Record<Operation['do'], string> = {
  list: 'keyring-read',
  rotate: 'keyring-rotate',
  delete: 'keyring-delete',
}

/** The plain forms, for openapi.yaml; the query is read by hand, because its faults come before permission. */
const DOCUMENTED: {
  method: HTTPMethods | HTTPMethods[]
  url: string
  operationId: string
  summary: string
  description: string
  needs: string
  answer: unknown
}[] = [
  {
    ...{ method: 'GET', url: '/keys', operationId: 'nomadListKeys', needs: NEEDS.list },
    answer: NomadKeys,
    summary: 'Lists the keys of the default ring, as Nomad does',
    description: 'Query: `index` and `wait` (blocking query), `region`, `pretty`.',
  },
  {
    ...{ method: ['PUT', 'POST'], url: '/rotate', needs: NEEDS.rotate },
    operationId: 'nomadRotate',
    answer: NomadRotated,
    summary: 'Rotates the default ring, as Nomad does',
    description:
      'Query: `full`, `publish_time` (Unix nanoseconds), `region`, `pretty`. No body is read.',
  },
  {
    ...{ method: 'DELETE', url: '/key/:key_id', needs: NEEDS.delete },
    operationId: 'nomadDeleteKey',
    answer: NomadDeleted,
    summary: 'Deletes a key of the default ring, as Nomad does',
    description: 'Query: `force`, `region`, `pretty`.',
  },
]

const operations = new WeakMap<FastifyRequest, Operation>()
const reads = new WeakMap<FastifyRequest, ReadQuery>()

const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }
const int64 = (value: bigint) => rawJSON(String(value))

/** Metadata of one key; members in alphabetical order (contract section 2.1). */
function toMeta(key: Key, indexes = { create: key.createIndex, modify: key.modifyIndex }) {
  return {
    Algorithm: 'aes256-gcm',
    CreateIndex: int64(indexes.create),
    CreateTime: int64(key.createdAt),
    KeyID: key.kid,
    ModifyIndex: int64(indexes.modify),
    PublishTime: int64(key.plannedAt),
    State: wireState(key),
  }
}

export function nomadRoutes({ rotation, removal, view, blocking, region }: NomadParts): Routes {
  function operationOf(request: FastifyRequest): Operation {
    const operation = operations.get(request)
    if (!operation) throw new Problem('internal')
    return operation
  }

  function send(request: FastifyRequest, reply: FastifyReply, value: unknown): FastifyReply {
    const pretty = isPretty(queryOf(request.url))
    const text = pretty ? `${JSON.stringify(value, null, 4)}\n` : JSON.stringify(value)
    const zipped = acceptsGzip(request.headers['accept-encoding'])
    if (zipped) reply.header('content-encoding', 'gzip')
    return reply
      .header('vary', 'Accept-Encoding')
      .type('application/json')
      .send(zipped ? gzipSync(text) : Buffer.from(text))
  }

  async function list(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const read = reads.get(request)
    if (read && read.index > 0n) {
      const held = blocking.hold(read.index, holdMillis(read.wait), undefined)
      if (held) {
        request.raw.socket.once('close', held.cancel)
        await held.done
        request.raw.socket.off('close', held.cancel)
      }
    }
    const keys = view.ring('default')?.keys ?? []
    reply
      .header('x-nomad-index', String(view.index()))
      .header('x-nomad-lastcontact', '0')
      .header('x-nomad-knownleader', 'true')
    return send(
      request,
      reply,
      keys.map((key) => toMeta(key)),
    )
  }

  async function rotate(
    request: FastifyRequest,
    reply: FastifyReply,
    { full, publishTime }: Extract<Operation, { do: 'rotate' }>,
  ): Promise<FastifyReply> {
    if (full && publishTime < 0n) {
      throw new Problem('key_conflict', 'cannot rekey without setting the new key active')
    }
    const activateAt = publishTime === 0n ? undefined : publishTime
    const asked = { ring: 'default', full, activateAt, force: true }
    const { keys, index, unsafeUntil } = await rotation.rotate(asked, request.principal)
    const [key] = keys
    if (!key) throw new Problem('internal')
    reply.header('x-nomad-index', String(index))
    if (unsafeUntil !== undefined) {
      const until = toIso(unsafeUntil)
      reply.header('x-keyringd-unsafe-until', until)
      request.log.warn(
        { kid: key.kid, until },
        'rotated to a key that some verifiers do not know yet',
      )
    }
    return send(request, reply, {
      Index: int64(index),
      Key: toMeta(key, { create: 0n, modify: 0n }),
    })
  }

  async function remove(
    request: FastifyRequest,
    reply: FastifyReply,
    { kid, force }: Extract<Operation, { do: 'delete' }>,
  ): Promise<FastifyReply> {
    if (kid === '') throw new Problem('key_conflict', 'root key ID is required')
    const { index } = await removal.remove({ ring: 'default', kid, force }, request.principal)
    reply.header('x-nomad-index', String(index))
    return send(request, reply, { Index: int64(index) })
  }

  function refuse(reply: FastifyReply, { status, text }: QueryFault): FastifyReply {
    return reply.code(status).type('text/plain; charset=utf-8').send(Buffer.from(text))
  }

  return async (app) => {
    failsWith(app, 'text/plain', NomadError)
    app.setErrorHandler(errorHandler(plainText))
    app.setNotFoundHandler(notFoundHandler(plainText))
    // A request body is never read, whatever its type says.
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', (_request, _payload, done) => done(null))

    app.addHook('onRequest', async (request, reply) => {
      delete request.headers['content-type']
      const operation = parseOperation(request.method, request.url, region)
      if (isFault(operation)) return refuse(reply, operation)
      operations.set(request, operation)
      if (operation.do !== 'list') return undefined
      const read = parseReadQuery(queryOf(request.url), region)
      if (isReadFault(read)) return refuse(reply, read)
      reads.set(request, read)
      return undefined
    })

    const capability: Requirement = (request) => ({
      capability: NEEDS[operationOf(request).do],
      on: () => ({ ring: 'default' }),
    })

    const handler = async (request: FastifyRequest, reply: FastifyReply) => {
      const operation = operationOf(request)
      if (operation.do === 'list') return list(request, reply)
      if (operation.do === 'rotate') return rotate(request, reply, operation)
      return remove(request, reply, operation)
    }

    for (const { method, url, needs, answer, ...texts } of DOCUMENTED) {
      const config = { capability, capabilityText: `${needs}@ring:default` }
      const schema = { tags: ['nomad'], ...texts, response: { 200: answer } }
      app.route({ method, url, config, schema, handler })
    }
    // Matching is by prefix, so everything else below comes here.
    app.all('/*', { config: { capability }, schema: { hide: true } }, handler)
  }
}
