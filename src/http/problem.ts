import type { FastifyReply, FastifyRequest } from 'fastify'
import {
  hasZodFastifySchemaValidationErrors,
  isResponseSerializationError,
} from 'fastify-type-provider-zod'
import { z } from 'zod'
import { isProblem, PROBLEMS, Problem, type ProblemCode } from '../errors.ts'

/** What a surface makes of a problem: its own status, type and words. A pure function. */
export interface Formatted {
  /** Default: the status of the problem's code. */
  status?: number
  /** Sent exactly as it is: nothing appends a charset. */
  type: string
  body: string | Buffer
  /** A list: a line for each. */
  headers?: Record<string, string | string[]>
}

export type Format = (problem: Problem, request: FastifyRequest) => Formatted

/** RFC 9457 with `code` and `requestId`; further members depend on the code. */
export const ProblemDocument = z
  .looseObject({
    type: z.string().describe('`urn:keyringd:problem:` and the code'),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string().describe('Stable; what programs should compare'),
    requestId: z.string().describe('Also in the answer header X-Request-Id and in the log'),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem', description: 'What went wrong (RFC 9457)' })

const MAX_ERRORS = 50
const MAX_TEXT = 300

/** Where fastify found it → how a caller calls that place. */
const PLACES: Record<string, string> = {
  body: 'body',
  querystring: 'query',
  params: 'path',
  headers: 'header',
}

/** Fastify's own errors, by its code; any other of its 4xx is `invalid_request`. */
const FASTIFY_CODES: Record<string, ProblemCode> = {
  FST_ERR_NOT_FOUND: 'not_found',
  FST_ERR_BAD_URL: 'malformed_request',
  FST_ERR_MAX_PARAM_LENGTH: 'not_found',
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'malformed_body',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'malformed_body',
  FST_ERR_CTP_INVALID_JSON_BODY: 'malformed_body',
  // The client went away in the middle of its body.
  ECONNRESET: 'malformed_body',
}

/** What of these our own API says in more words; those of an imitated one are its own. */
const WORDS: Record<string, string> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE:
    'The body must be JSON, with Content-Type: application/json (curl: --json)',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty; it must be JSON',
  // Members that could become a prototype count as no JSON, too.
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not JSON, or has a member __proto__',
}

const cut = (text: string) => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text)

/**
 * Turns whatever was thrown into a Problem. What is not a Problem, a failed schema or a 4xx of Fastify is `internal`:
 * its message is kept for the log only, as `cause`. `words`: of Fastify's codes, where the title is not enough.
 */
export function toProblem(error: unknown, words: Record<string, string> = {}): Problem {
  if (isProblem(error)) return error
  if (hasZodFastifySchemaValidationErrors(error)) return invalidRequest(error)
  if (typeof error !== 'object' || error === null || isSerialization(error)) return internal(error)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const known = FASTIFY_CODES[code]
  if (known) return new Problem(known, words[code], { cause: error })
  const status = 'statusCode' in error ? Number(error.statusCode) : 500
  if (code.startsWith('FST_') && status >= 400 && status < 500) {
    return new Problem('invalid_request', undefined, { cause: error })
  }
  return internal(error)
}

const internal = (cause: unknown) => new Problem('internal', undefined, { cause })

const isSerialization = (error: object) =>
  error instanceof Error &&
  'code' in error &&
  error.code === 'FST_ERR_RESPONSE_SERIALIZATION' &&
  isResponseSerializationError(error)

interface Issue {
  instancePath: string
  message?: string
  params: Record<string, unknown>
}

interface SchemaFailure {
  validation: readonly Issue[]
  validationContext?: string
}

interface UnionIssue {
  code?: string
  path: readonly PropertyKey[]
  message: string
}

/** Of alternatives that all failed, the first that knows every member was meant. */
function narrowed(issue: Issue): Issue[] {
  const branches: unknown = issue.params['errors']
  if (!Array.isArray(branches)) return [issue]
  const alternatives = branches as UnionIssue[][]
  const isForeign = (one: UnionIssue[]) => one.some(({ code }) => code === 'unrecognized_keys')
  const meant = alternatives.find((one) => !isForeign(one)) ?? alternatives[0]
  // Alternatives of one value, not of its members: the union's own words say it better.
  if (!meant?.some(({ path }) => path.length > 0)) return [issue]
  const base = issue.instancePath === '/' ? '' : issue.instancePath
  return meant.map(({ path, message, ...params }) => ({
    instancePath: `${base}/${path.map(String).join('/')}`,
    message,
    params: params as Record<string, unknown>,
  }))
}

function invalidRequest(error: SchemaFailure): Problem {
  const place = PLACES[error.validationContext ?? ''] ?? 'request'
  const issues = error.validation.flatMap(narrowed)
  const errors = issues.slice(0, MAX_ERRORS).map((issue) => ({
    path: cut(`${place}${issue.instancePath === '/' ? '' : issue.instancePath}`),
    message: cut(issue.message ?? 'is not valid'),
  }))
  const [first] = errors
  const detail = first ? `${first.path}: ${first.message}` : undefined
  return new Problem('invalid_request', detail, { extra: { errors } })
}

/** RFC 9457; a 401 names the scheme (RFC 9110 section 11.6.1). */
export const problemJson: Format = (problem, request) => ({
  type: 'application/problem+json',
  body: problemBody(problem, request.id),
  ...(problem.status === 401 && { headers: { 'www-authenticate': 'Bearer realm="keyringd"' } }),
})

/** The document alone, for a place that has no request. */
export function problemBody(problem: Problem, requestId: string): string {
  const { code, detail, extra, status } = problem
  const { title } = PROBLEMS[code]
  const type = `urn:keyringd:problem:${code}`
  const document = { ...extra, type, title, status, detail, code, requestId }
  return JSON.stringify(document, (_, value) => (typeof value === 'bigint' ? String(value) : value))
}

/** For `app.setErrorHandler`: logs what is our fault, answers in the surface's format. */
export function errorHandler(format: Format, words?: Record<string, string>) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const problem = toProblem(error, words)
    if (problem.status >= 500) {
      const expected = isProblem(error) && problem.code !== 'internal'
      request.log[expected ? 'warn' : 'error'](
        { requestId: request.id, err: isProblem(error) ? error : (problem.cause ?? error) },
        problem.code,
      )
    }
    // Fastify would close the connection with unread bytes in it, and the reset that follows can overtake the
    // answer. Node drops the rest of the body instead; the request timeout bounds that.
    if (problem.code === 'body_too_large') reply.removeHeader('connection')
    return sendProblem(problem, format, request, reply)
  }
}

/** That of our own API. */
export const ourErrors = errorHandler(problemJson, WORDS)

/** For `app.setNotFoundHandler`: nothing here has that path or takes that method. */
export function notFoundHandler(format: Format) {
  return (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const path = cut(request.url.split('?', 1)[0] ?? '')
    const problem = new Problem('not_found', `There is no ${request.method} ${path} here`)
    return sendProblem(problem, format, request, reply)
  }
}

function sendProblem(
  problem: Problem,
  format: Format,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const { status = problem.status, type, body, headers = {} } = format(problem, request)
  // A Buffer: to text Fastify appends a charset.
  return reply
    .code(status)
    .header('x-request-id', request.id)
    .headers(headers)
    .type(type)
    .send(typeof body === 'string' ? Buffer.from(body) : body)
}
