import type { Socket } from 'node:net'
import type { ConnectionError, FastifyRequest } from 'fastify'
import { Problem, type ProblemCode } from '../errors.ts'
import { type Format, problemJson } from './problem.ts'

/** What Node calls it when no request could be read; anything else is malformed HTTP. */
const CODES: Record<string, ProblemCode> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'body_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
}

const REASONS: Record<number, string> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  413: 'Content Too Large',
  431: 'Request Header Fields Too Large',
}

/** Milliseconds to go on reading, so that no reset overtakes the answer to a client that is still sending. */
const LINGER = 2000

/**
 * Answers on the raw socket what never became a request, and then ends it: a problem document, or the surface's own words
 * where the head arrived, and so its path is known, and the body did not.
 */
export function answerClientError(
  error: ConnectionError,
  socket: Socket,
  formatFor?: (path: string) => Format | undefined,
): void {
  if (error.code === 'ECONNRESET' || !socket.writable || isAnswering(socket)) {
    socket.destroy()
    return
  }
  const problem = new Problem(CODES[error.code] ?? 'malformed_request')
  const url = (socket as Answered)._httpMessage?.req?.url ?? ''
  const format = formatFor?.(url.split('?', 1)[0] ?? '') ?? problemJson
  const {
    type,
    body,
    headers = {},
  } = format(problem, {
    id: 'none',
    url,
    headers: {},
    params: {},
  } as FastifyRequest)
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${REASONS[problem.status] ?? ''}`,
      `Content-Type: ${type}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  )
  const timer = setTimeout(() => socket.destroy(), LINGER)
  socket.once('close', () => clearTimeout(timer))
}

/** The response that Node is making on a connection. */
type Answered = Socket & { _httpMessage?: { headersSent: boolean; req?: { url?: string } } | null }

/** A response whose head is out: a second one would be read as its body. */
const isAnswering = (socket: Answered): boolean => socket._httpMessage?.headersSent === true
