import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { App } from '../http/server.ts'
import { alertsBody, xmlIdOf } from './errors.ts'
import { Alerts, KeyDocumentText } from './schema.ts'
import type { Sessions } from './sessions.ts'
import { NEWEST } from './versions.ts'

// `deliveryservices/{xml_id}/urisignkeys`: the four methods, with the checks in the order of contract section 4.

export interface StoredDocument {
  bytes: Uint8Array
  /** Strong, with its quotes. */
  etag: string
  /** Unix milliseconds. */
  updatedAt: number
}

export interface Documents {
  /** Undefined: the service has no keys. @throws Problem `delivery_service_not_found`, `tenant_forbidden` */
  read(
    principal: Principal,
    xmlId: string,
  ): StoredDocument | undefined | Promise<StoredDocument | undefined>
  /** @throws Problem `keyset_invalid`, whose detail is the alert, and `precondition_failed` */
  write(
    principal: Principal,
    xmlId: string,
    bytes: Uint8Array,
    conditions: { ifMatch?: string | undefined; ifNoneMatch?: string | undefined },
  ): Promise<StoredDocument>
  /** False: there was none. @throws Problem `precondition_failed` */
  remove(
    principal: Principal,
    xmlId: string,
    conditions: { ifMatch?: string | undefined },
  ): Promise<boolean>
}

export interface KeysParts {
  sessions: Pick<Sessions, 'has' | 'renew'>
  documents: Documents
  /** @throws Problem `delivery_service_not_found`, `tenant_forbidden` */
  checkService(principal: Principal, xmlId: string): Promise<void>
  /** False: nothing can be opened or sealed now. */
  isReady(): boolean
  /** A known caller was refused. For the audit record. */
  onDenied(principal: Principal, needed: string): Promise<void>
}

const PERMISSIONS = {
  GET: ['DS-SECURITY-KEY:READ'],
  POST: ['DS-SECURITY-KEY:CREATE'],
  PUT: ['DS-SECURITY-KEY:UPDATE'],
  DELETE: [
    ...['DS-SECURITY-KEY:DELETE', 'DS-SECURITY-KEY:READ'],
    ...['DELIVERY-SERVICE:READ', 'DELIVERY-SERVICE:UPDATE'],
  ],
} as const

type Method = keyof typeof PERMISSIONS

const written = { body: KeyDocumentText, response: { 200: KeyDocumentText, default: Alerts } }
const SHOWN: Record<Method, object> = {
  GET: {
    ...{ operationId: 'getUriSignKeys', summary: 'The key document, byte for byte' },
    response: { 200: KeyDocumentText, default: Alerts },
  },
  POST: { operationId: 'createUriSignKeys', summary: 'Stores the key document', ...written },
  PUT: { operationId: 'updateUriSignKeys', summary: 'Stores the key document', ...written },
  DELETE: {
    ...{ operationId: 'deleteUriSignKeys', summary: 'Removes the key document' },
    response: { 200: Alerts, default: Alerts },
  },
}

/** What GET says of a service without keys: exactly this (section 5). */
export const NO_KEYS = Buffer.from('{"renewal_kid":null,"keys":null}')
const NOTHING = new Uint8Array()

export function keysRoutes(app: App, prefix: string, parts: KeysParts): void {
  const { documents, onDenied } = parts
  const url = `${prefix}/deliveryservices/:xmlId/urisignkeys`

  /** At once, where nothing is missing. */
  function permit(
    { method, principal }: FastifyRequest,
    xmlId: string,
  ): Promise<never> | undefined {
    const resource = { deliveryService: xmlId }
    const wanted = PERMISSIONS[method as Method]
    const missing = wanted.filter((name) => !principal.may(name, resource))
    return missing.length === 0 ? undefined : refuse(principal, missing, xmlId)
  }

  async function refuse(principal: Principal, missing: string[], xmlId: string): Promise<never> {
    await onDenied(principal, `${missing.join(', ')}@delivery-service:${xmlId.slice(0, 200)}`)
    throw new Problem('forbidden', undefined, { extra: { missing } })
  }

  /** Of what writes, all that is decided before its body is read, the service last. */
  async function before(request: FastifyRequest, _: FastifyReply, payload: unknown) {
    const xmlId = xmlIdOf(request)
    await permit(request, xmlId)
    if (!parts.isReady()) throw new Problem('not_ready')
    await parts.checkService(request.principal, xmlId)
    return payload
  }

  /** The last look: a right may have gone while the body arrived. With a callback, as reads are many. */
  function check(request: FastifyRequest, _: FastifyReply, done: (error?: Error) => void): void {
    const refused = permit(request, xmlIdOf(request))
    if (refused) refused.catch(done)
    else done(parts.isReady() ? undefined : new Problem('not_ready'))
  }

  /** What went well carries the cookies of its session again. */
  async function carryCookies(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const cookies = await parts.sessions.renew(request)
    if (cookies.length > 0) reply.header('set-cookie', cookies)
  }

  /** The last one that was written out: that takes longer than all else an answer says of itself. */
  let lastModified = { at: 0, text: new Date(0).toUTCString() }

  function validators(reply: FastifyReply, { etag, updatedAt }: StoredDocument): void {
    if (lastModified.at !== updatedAt) {
      lastModified = { at: updatedAt, text: new Date(updatedAt).toUTCString() }
    }
    reply.header('etag', etag).header('last-modified', lastModified.text)
  }

  function get(request: FastifyRequest, reply: FastifyReply) {
    const found = documents.read(request.principal, xmlIdOf(request))
    if (found instanceof Promise || parts.sessions.has(request)) return late(request, reply, found)
    return answer(request, reply, found)
  }

  async function late(
    request: FastifyRequest,
    reply: FastifyReply,
    found: ReturnType<Documents['read']>,
  ) {
    const document = await found
    if (parts.sessions.has(request)) await carryCookies(request, reply)
    return answer(request, reply, document)
  }

  /** What is sent: the bytes, as a reply that is returned would be watched until it is out. */
  function answer(request: FastifyRequest, reply: FastifyReply, document?: StoredDocument) {
    if (document) {
      validators(reply, document)
      if (matches(request.headers['if-none-match'], document.etag)) return reply.code(304).send()
    }
    reply.type('application/json')
    return document?.bytes ?? NO_KEYS
  }

  async function put(request: FastifyRequest, reply: FastifyReply) {
    const bytes = request.body instanceof Uint8Array ? request.body : NOTHING
    const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers
    const conditions = { ifMatch, ifNoneMatch }
    const stored = await documents.write(request.principal, xmlIdOf(request), bytes, conditions)
    validators(reply, stored)
    if (parts.sessions.has(request)) await carryCookies(request, reply)
    return reply.type('application/json').send(bytes)
  }

  async function remove(request: FastifyRequest, reply: FastifyReply) {
    const { 'if-match': ifMatch } = request.headers
    const existed = await documents.remove(request.principal, xmlIdOf(request), { ifMatch })
    if (parts.sessions.has(request)) await carryCookies(request, reply)
    const answer = existed
      ? alertsBody('object deleted', 'success')
      : alertsBody('not deleted, no object found to delete', 'info')
    return reply.type('application/json').send(answer)
  }

  const handlers = { GET: get, POST: put, PUT: put, DELETE: remove }
  const isShown = prefix.endsWith(`/${NEWEST}`)
  for (const method of Object.keys(handlers) as Method[]) {
    app.route({
      ...{ method, url, preHandler: check, handler: handlers[method] },
      ...(method !== 'GET' && { preParsing: before }),
      schema: isShown ? { tags: ['traffic-ops'], ...SHOWN[method] } : { hide: true },
      config: {
        ...{ capability: 'authenticated', capabilityText: PERMISSIONS[method].join(', ') },
        credentials: 'traffic-ops',
      },
    })
  }
}

/** RFC 9110 section 13.1.2; a weak form of the tag will do. */
const matches = (header: string | undefined, etag: string): boolean =>
  header?.split(',').some((one) => ['*', etag, `W/${etag}`].includes(one.trim())) ?? false
