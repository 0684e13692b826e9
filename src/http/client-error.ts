import { STATUS_CODES } from 'node:http'
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

/** Milliseconds to go on reading, so that no reset overtakes the answer to a client that is still sending. */
const LINGER = 2000

/** Bytes that are looked at: what tells surfaces and formats apart comes early. */
const MAX_LINE = 1024
/** A method and a target, such as a server is asked for (RFC 9112 section 3). */
const REQUEST_LINE = /^[!-~]{1,32} (\/[!-~]*)/

/**
 * Answers on the raw socket what never became a request, and then ends it: in the words of the surface that its path
 * belongs to, where that can be seen, else with a problem document.
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
  // The head arrived, and the body did not; or the head is what could not be read.
  const url = (socket as Answered)._httpMessage?.req?.url ?? targetIn(error.rawPacket)
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
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}`,
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

/**
 * The target that a packet begins with; empty where it begins with something else, such as the middle of a head. It chooses
 * the words of a refusal and nothing else, so it may be a lie.
 */
function targetIn(packet: unknown): string {
  if (!Buffer.isBuffer(packet)) return ''
  return REQUEST_LINE.exec(packet.toString('latin1', 0, MAX_LINE))?.[1] ?? ''
}

/** The response that Node is making on a connection. */
type Answered = Socket & { _httpMessage?: { headersSent: boolean; req?: { url?: string } } | null }

/** A response whose head is out: a second one would be read as its body. */
const isAnswering = (socket: Answered): boolean => socket._httpMessage?.headersSent === true
