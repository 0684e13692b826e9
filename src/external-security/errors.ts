import { STATUS_CODES } from 'node:http'
import type { FastifyRequest } from 'fastify'
import type { Problem } from '../errors.ts'
import type { Format } from '../http/problem.ts'
import { type Asked, errorFormat, TYPES } from './format.ts'
import type { BodyFormat } from './payload.ts'
import { isXmlText, writeXml } from './xml.ts'

// Problems in the words of the MarkLogic surface, JSON or XML (contract section 6).

const NAMESPACE = 'http://marklogic.com/xdmp/error'
/** What an answer repeats of a request is cut: a path may be as long as the head of a request. */
const MAX_ECHO = 1000

interface Words {
  status?: number
  code?: string
  message: string
  headers?: Record<string, string>
}

const PAYLOAD = 'Payload has errors in structure, content-type or values.'

const coded = (code: string, text: string): Words => ({
  code,
  message: `${code}: (err:FOER0000) ${text}`,
})

const invalidPayload = ({ detail }: Problem): Words =>
  coded('MANAGE-INVALIDPAYLOAD', `${PAYLOAD} ${detail}`)

/** By code; what is not listed has no message code and says what it is. */
const WORDS: Record<string, (problem: Problem) => Words> = {
  external_security_invalid: invalidPayload,
  malformed_body: invalidPayload,
  invalid_request: (problem) => ({ status: 400, ...invalidPayload(problem) }),
  external_security_conflict: ({ detail }) =>
    coded('MANAGE-CONFLICTINGCONFIG', `Payload has a conflict with what is there. ${detail}`),
  external_security_uri_invalid: ({ detail }) => coded('SEC-INVURI', detail),
  external_security_in_use: ({ detail }) => coded('SEC-EXTERNALSECURITYINUSE', detail),
  external_security_not_found: ({ detail }) => coded('SEC-EXTERNALSECURITYDNE', detail),
  jwt_secret_not_found: ({ detail }) => coded('MANAGE-NOSUCHKEY', detail),
  parameter_invalid: ({ detail }) => coded('MANAGE-INVALIDPARAM', detail),
  method_not_allowed: ({ detail, extra }) => ({
    message: detail,
    headers: { allow: String(extra['allow'] ?? '') },
  }),
  rate_limited: ({ detail, extra }) => ({
    message: detail,
    headers: { 'retry-after': String(extra['retryAfter'] ?? 1) },
  }),
}

const cut = (text: string) => (text.length > MAX_ECHO ? `${text.slice(0, MAX_ECHO)}…` : text)

/** A valid login without the rights is 401 here, as documented, and not 403 (section 2). */
export const statusOf = (problem: Problem): number =>
  problem.status === 403 ? 401 : (WORDS[problem.code]?.(problem).status ?? problem.status)

function wordsOf(problem: Problem, url: string): Words {
  if (problem.status === 401) return { message: '401 Unauthorized' }
  if (problem.status === 403) {
    const path = cut(url.split('?', 1)[0] ?? '')
    return { message: `You do not have credentials to access ${path} .` }
  }
  // Whatever broke is for the log.
  if (problem.status === 500) return { message: 'Internal Server Error' }
  return WORDS[problem.code]?.(problem) ?? { message: problem.detail }
}

/** What a request says of formats. */
export function askedOf({ url, headers }: FastifyRequest): Asked {
  const query = url.indexOf('?')
  const formats = query === -1 ? [] : new URLSearchParams(url.slice(query)).getAll('format')
  return {
    format: formats.length > 1 ? formats : formats[0],
    ...{ accept: headers.accept, contentType: headers['content-type'] },
  }
}

/** The format of a route whose request names none (section 3); without a route, that of most. */
export function fallbackOf(request: FastifyRequest): BodyFormat {
  const { routeOptions }: Partial<FastifyRequest> = request
  return routeOptions?.config?.fallbackFormat ?? 'xml'
}

export const manageFormat: Format = (problem, request) => {
  const status = statusOf(problem)
  const { code = '', message, headers } = wordsOf(problem, request.url)
  const format = errorFormat(askedOf(request), fallbackOf(request))
  const document = { status, reason: STATUS_CODES[status] ?? 'Error', code, message: cut(message) }
  return {
    ...{ status, type: TYPES[format] },
    body: format === 'json' ? toJson(document) : toXml(document),
    headers: { 'cache-control': 'no-store', ...headers },
  }
}

interface ErrorDocument {
  status: number
  reason: string
  code: string
  message: string
}

const toJson = ({ status, reason, code, message }: ErrorDocument): string =>
  JSON.stringify({
    errorResponse: { statusCode: String(status), status: reason, messageCode: code, message },
  })

function toXml({ status, reason, code, message }: ErrorDocument): string {
  const safe = isXmlText(message) ? message : message.replace(/[^\x20-\x7E]/g, '?')
  const content = Object.entries({
    'status-code': String(status),
    status: reason,
    'message-code': code,
    message: safe,
  }).map(([name, text]) => ({ name, content: text }))
  return writeXml({ name: 'error', attributes: { xmlns: NAMESPACE }, content })
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of a MarkLogic route: how it answers where the request names no format; default XML. */
    fallbackFormat?: 'json' | 'xml'
  }
}
