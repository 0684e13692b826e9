import type { FastifyRequest } from 'fastify'
import type { Principal, Resource } from '../context.ts'
import { Problem } from '../errors.ts'
import { NoContent } from '../http/fields.ts'
import { plainFirst } from '../http/plain-first.ts'
import type { Routes } from '../http/server.ts'
import { readPlainService, readPlainUris } from './plain-sign.ts'
import {
  NewServiceParams,
  PageQuery,
  ServiceDocument,
  ServiceList,
  ServiceParams,
  ServiceWriteBody,
  SignUriAnswer,
  SignUriRequestBody,
  UriVerdictDocument,
  VerifyUriBody,
} from './schema.ts'
import type { UriSigning } from './service.ts'
import type { UriVerdict } from './uri-verdict.ts'
import { toServiceDocument } from './wire.ts'

// Our own `/v1/delivery-services`; to be registered inside the scope of our own routes.

/** The service a route's path names: what its capability must cover. */
export const onService = (request: FastifyRequest): Resource => ({
  deliveryService: String((request.params as { xml_id?: unknown }).xml_id),
})

export const needs = (capability: string) => ({
  config: { capability: { capability, on: onService, scope: 'delivery-service' as const } },
})

/** For a POST that changes nothing: it is logged as a GET is. */
const asks = (capability: string) => ({
  config: { ...needs(capability).config, log: 'debug' as const },
})

export const conditionsOf = ({ headers }: FastifyRequest) => ({
  ifMatch: headers['if-match'],
  ifNoneMatch: headers['if-none-match'],
})

/** Who may read the keys can sign with them anywhere; who may not, must not do it here. */
const SIGN = 'DS-SECURITY-KEY:READ'

const toVerdict = ({ code, reason, claims, checks }: UriVerdict) =>
  claims ? { code, reason, claims, checks } : { code, reason, checks }

export interface RouteParts extends UriSigning {
  /** A known caller was refused. For the audit record. */
  onDenied(principal: Principal, needed: string): Promise<void>
}

/** For what a route needs beside its own capability. @throws Problem `forbidden`, once it is on record */
export async function mustHave(
  principal: Principal,
  capability: string,
  xmlId: string,
  onDenied: RouteParts['onDenied'],
): Promise<void> {
  if (principal.may(capability, { deliveryService: xmlId })) return
  const needed = `${capability}@delivery-service:${xmlId.slice(0, 64)}`
  await onDenied(principal, needed)
  throw new Problem('forbidden', `This needs ${needed}`)
}

/** Delivery services, signing and verifying. */
export function serviceRoutes({ services, signing, onDenied }: RouteParts): Routes {
  const tags = ['delivery-services']

  return async (app) => {
    app.get(
      '/v1/delivery-services',
      {
        config: { capability: 'DELIVERY-SERVICE:READ' },
        schema: {
          ...{ tags, operationId: 'listDeliveryServices', summary: 'Lists delivery services' },
          querystring: PageQuery,
          response: { 200: ServiceList },
        },
      },
      async (request) => {
        const page = await services.list(request.principal, request.query)
        return {
          deliveryServices: page.services.map(toServiceDocument),
          next: page.next ?? null,
        }
      },
    )

    app.put(
      '/v1/delivery-services/:xml_id',
      {
        ...needs('DELIVERY-SERVICE:UPDATE'),
        schema: {
          ...{ tags, operationId: 'putDeliveryService' },
          summary: 'Makes a delivery service, or gives it to another tenant',
          description:
            'With `If-None-Match: *` it only makes one, with `If-Match: *` it only changes one; else 412 `precondition_failed`.',
          params: NewServiceParams,
          body: ServiceWriteBody,
          response: { 200: ServiceDocument },
        },
      },
      async (request) => {
        const { params, body, principal } = request
        const conditions = conditionsOf(request)
        return toServiceDocument(await services.put(principal, params.xml_id, body, conditions))
      },
    )

    app.get(
      '/v1/delivery-services/:xml_id',
      {
        ...needs('DELIVERY-SERVICE:READ'),
        schema: {
          ...{ tags, operationId: 'getDeliveryService', summary: 'Describes a delivery service' },
          params: ServiceParams,
          response: { 200: ServiceDocument },
        },
      },
      async ({ params, principal }) =>
        toServiceDocument(await services.get(principal, params.xml_id)),
    )

    app.delete(
      '/v1/delivery-services/:xml_id',
      {
        ...needs('DELIVERY-SERVICE:UPDATE'),
        schema: {
          ...{ tags, operationId: 'deleteDeliveryService' },
          summary: 'Deletes a delivery service and its keys, all versions of them',
          params: ServiceParams,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        const { principal, params } = request
        // The keys go, too.
        await mustHave(principal, 'DS-SECURITY-KEY:DELETE', params.xml_id, onDenied)
        await services.delete(principal, params.xml_id)
        return reply.code(204).send()
      },
    )

    app.post(
      '/v1/delivery-services/:xml_id/sign',
      {
        ...asks(SIGN),
        schema: {
          ...{ tags, operationId: 'signUri', summary: 'Signs one URI, or up to 1,000' },
          params: ServiceParams,
          body: SignUriRequestBody,
          response: { 200: SignUriAnswer },
        },
        validatorCompiler: plainFirst({ params: readPlainService, body: readPlainUris }),
        // What `sign` returns is made member by member; checking it again would cost more than writing it.
        serializerCompiler: () => JSON.stringify,
      },
      async (request, reply) => {
        const { xml_id } = request.params
        const { body, principal } = request
        reply.header('cache-control', 'no-store')
        if (!('batch' in body)) return signing.sign(principal, xml_id, body)
        return { batch: await signing.signBatch(principal, xml_id, body.batch) }
      },
    )

    app.post(
      '/v1/delivery-services/:xml_id/verify',
      {
        ...asks('DELIVERY-SERVICE:READ'),
        schema: {
          ...{
            tags,
            operationId: 'verifyUri',
            summary: 'What a cache would say of a URI, and why',
          },
          params: ServiceParams,
          body: VerifyUriBody,
          response: { 200: UriVerdictDocument },
        },
        serializerCompiler: () => JSON.stringify,
      },
      async ({ params, body, principal }, reply) => {
        reply.header('cache-control', 'no-store')
        if (!body.renew) return toVerdict(await signing.verify(principal, params.xml_id, body))
        await mustHave(principal, SIGN, params.xml_id, onDenied)
        const { verdict, renewal } = await signing.renew(principal, params.xml_id, body)
        return { ...toVerdict(verdict), renewal }
      },
    )
  }
}
