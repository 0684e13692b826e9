import type { FastifyReply, FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import { NoContent } from '../http/fields.ts'
import type { App, Routes } from '../http/server.ts'
import type { StoredDocument } from './documents.ts'
import { conditionsOf, mustHave, needs, type RouteParts } from './routes.ts'
import {
  AttestBody,
  CacheConfigQuery,
  CopyBody,
  Findings,
  GenerateBody,
  GeneratedDocument,
  ROTATE_BY_DEFAULT,
  RollbackBody,
  RotateUriBody,
  ServiceParams,
  UriPlan,
  VersionList,
  WrittenDocument,
} from './schema.ts'
import { toFindings, toPlan, toVersion, toWritten } from './wire.ts'

// The keys of a delivery service on our own API; to be registered inside the scope of our own routes.

const tags = ['delivery-services']

/** A document as it is, or 304; never to be kept by anything on the way. */
function sendDocument(request: FastifyRequest, reply: FastifyReply, document: StoredDocument) {
  const { bytes, etag, updatedAt } = document
  reply.header('cache-control', 'no-store').header('etag', etag)
  reply.header('last-modified', new Date(updatedAt).toUTCString())
  const known = (request.headers['if-none-match'] ?? '').split(',').map((one) => one.trim())
  // RFC 9110 section 13.1.2; a weak form of the tag will do.
  if (known.some((one) => ['*', etag, `W/${etag}`].includes(one))) return reply.code(304).send()
  return reply.type('application/json').send(bytes)
}

/** Documents as bytes: what parses a body on the way would not leave it as it came. */
function rawRoutes({ documents }: RouteParts) {
  return async (app: App) => {
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) => body)
    app.addHook('onRequest', async ({ raw }) => {
      if (raw.headers['content-type'] !== undefined)
        raw.headers['content-type'] = 'application/json'
    })
    const bytesOf = ({ body }: FastifyRequest) => (body instanceof Uint8Array ? body : undefined)

    app.put(
      '/v1/delivery-services/:xml_id/keys',
      {
        ...needs('DS-SECURITY-KEY:UPDATE'),
        schema: {
          ...{
            tags,
            operationId: 'putUriKeys',
            summary: 'Replaces the key document, byte for byte',
          },
          params: ServiceParams,
          response: { 200: WrittenDocument },
        },
      },
      async (request, reply) => {
        const bytes = bytesOf(request)
        if (!bytes) throw new Problem('malformed_body', 'The body must be a key document')
        const { principal, params } = request
        const conditions = conditionsOf(request)
        const written = await documents.write(principal, params.xml_id, bytes, conditions)
        reply.header('etag', written.etag)
        return toWritten(written)
      },
    )

    app.post(
      '/v1/delivery-services/:xml_id/lint',
      {
        ...needs('DS-SECURITY-KEY:READ'),
        schema: {
          ...{ tags, operationId: 'lintUriKeys' },
          summary: 'What is wrong with a key document; without a body, with the stored one',
          params: ServiceParams,
          response: { 200: Findings },
        },
      },
      async (request) => {
        const bytes = bytesOf(request)
        const subject = bytes && bytes.length > 0 ? bytes : undefined
        return toFindings(await documents.lint(request.principal, request.params.xml_id, subject))
      },
    )
  }
}

/** Key documents, their versions and their rotation. */
export function documentsRoutes(parts: RouteParts): Routes {
  const { documents, rotation } = parts

  /** Who names what there is wants it replaced, for which the right to make a first one is not enough. */
  async function toMake(request: FastifyRequest, xmlId: string) {
    const conditions = conditionsOf(request)
    if (conditions.ifMatch !== undefined) {
      await mustHave(request.principal, 'DS-SECURITY-KEY:UPDATE', xmlId, parts.onDenied)
    }
    return conditions
  }

  return async (app) => {
    await app.register(rawRoutes(parts))

    app.get(
      '/v1/delivery-services/:xml_id/cache-config',
      {
        ...needs('DS-SECURITY-KEY:READ'),
        schema: {
          ...{ tags, operationId: 'cacheConfig' },
          summary: 'The key document for a cache; never an empty one',
          params: ServiceParams,
          querystring: CacheConfigQuery,
        },
      },
      async (request, reply) => {
        const publicOnly = request.query.public === 'true'
        const { principal, params } = request
        const document = await documents.forCache(principal, params.xml_id, { publicOnly })
        return sendDocument(request, reply, document)
      },
    )

    app.delete(
      '/v1/delivery-services/:xml_id/keys',
      {
        ...needs('DS-SECURITY-KEY:DELETE'),
        schema: {
          ...{
            tags,
            operationId: 'removeUriKeys',
            summary: 'Removes the keys; earlier versions stay',
          },
          params: ServiceParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        const { principal, params } = request
        if (!(await documents.remove(principal, params.xml_id, conditionsOf(request)))) {
          throw new Problem('keys_missing')
        }
        return reply.code(204).send()
      },
    )

    app.get(
      '/v1/delivery-services/:xml_id/versions',
      {
        ...needs('DELIVERY-SERVICE:READ'),
        schema: {
          ...{ tags, operationId: 'listUriKeyVersions' },
          summary: 'The last ten versions of the key document: who, when, how',
          params: ServiceParams,
          response: { 200: VersionList },
        },
      },
      async ({ principal, params }) => ({
        versions: (await documents.versions(principal, params.xml_id)).map(toVersion),
      }),
    )

    app.post(
      '/v1/delivery-services/:xml_id/rollback',
      {
        ...needs('DS-SECURITY-KEY:UPDATE'),
        schema: {
          ...{ tags, operationId: 'rollBackUriKeys' },
          summary: 'Makes an earlier version of the keys the latest',
          params: ServiceParams,
          body: RollbackBody,
          response: { 200: WrittenDocument },
        },
      },
      async (request) => {
        const { principal, params, body } = request
        const conditions = conditionsOf(request)
        return toWritten(
          await documents.rollback(principal, params.xml_id, body.version, conditions),
        )
      },
    )

    app.post(
      '/v1/delivery-services/:xml_id/generate',
      {
        ...needs('DS-SECURITY-KEY:CREATE'),
        schema: {
          ...{ tags, operationId: 'generateUriKeys' },
          summary: 'Makes a key document with a new key; replaces one with If-Match only',
          params: ServiceParams,
          body: GenerateBody,
          response: { 200: GeneratedDocument },
        },
      },
      async (request) => {
        const { principal, params, body } = request
        const conditions = await toMake(request, params.xml_id)
        const made = await documents.generate(principal, params.xml_id, body, conditions)
        const { issuer, kid, algorithm } = made
        return { ...toWritten(made), issuer, kid, algorithm }
      },
    )

    app.post(
      '/v1/delivery-services/:xml_id/copy',
      {
        ...needs('DS-SECURITY-KEY:CREATE'),
        schema: {
          ...{ tags, operationId: 'copyUriKeys', summary: 'Takes the keys of another service' },
          params: ServiceParams,
          body: CopyBody,
          response: { 200: WrittenDocument },
        },
      },
      async (request) => {
        const { principal, params, body } = request
        await mustHave(principal, 'DS-SECURITY-KEY:READ', body.from, parts.onDenied)
        const conditions = await toMake(request, params.xml_id)
        return toWritten(await documents.copy(principal, params.xml_id, body.from, conditions))
      },
    )

    app.get(
      '/v1/delivery-services/:xml_id/plan',
      {
        ...needs('DELIVERY-SERVICE:READ'),
        schema: {
          ...{ tags, operationId: 'uriKeysPlan' },
          summary: 'Rotations of the keys: each step, when it was taken or becomes safe, and why',
          params: ServiceParams,
          response: { 200: UriPlan },
        },
      },
      async ({ principal, params }) => toPlan(await rotation.plan(principal, params.xml_id)),
    )

    app.post(
      '/v1/delivery-services/:xml_id/rotate',
      {
        ...needs('DS-SECURITY-KEY:UPDATE'),
        schema: {
          ...{ tags, operationId: 'rotateUriKeys' },
          summary:
            'Begins to replace a key, takes a step that is safe, or takes the new key away again',
          params: ServiceParams,
          body: RotateUriBody.nullish(),
          response: { 200: UriPlan },
        },
      },
      async ({ principal, params, body: given }) => {
        const { xml_id } = params
        const body = given ?? ROTATE_BY_DEFAULT
        if ('step' in body) return toPlan(await rotation.advance(principal, xml_id, body))
        if ('cancel' in body) return toPlan(await rotation.cancel(principal, xml_id, body.issuer))
        const { announceFor: announceTtl, ...request } = body
        return toPlan(await rotation.start(principal, xml_id, { ...request, announceTtl }))
      },
    )

    app.post(
      '/v1/delivery-services/:xml_id/attest',
      {
        ...needs('DS-SECURITY-KEY:UPDATE'),
        schema: {
          ...{ tags, operationId: 'attestUriKeys' },
          summary: 'Says when all caches had reloaded, and what others signed with the old key',
          params: ServiceParams,
          body: AttestBody,
          response: { 200: UriPlan },
        },
      },
      async ({ principal, params, body }) => {
        const { cachesReloadedAt, ...attestation } = body
        const reloadedAt = Date.parse(cachesReloadedAt)
        return toPlan(
          await rotation.attest(principal, params.xml_id, { ...attestation, reloadedAt }),
        )
      },
    )
  }
}
