import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { anonymous } from '../context.ts'

/** A request that is over, in words that are safe as metric labels. */
export interface Finished {
  method: string
  /** The pattern, never the path: paths are as many as clients like. */
  route: string
  status: number
  seconds: number
}

const MAX_PATH = 256
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * One line for the request when it is over, answered or given up: no headers, no body, no query. What went well is
 * `debug` where it changed nothing, all else is `info`.
 */
export function watchRequest(
  request: FastifyRequest,
  reply: FastifyReply,
  log: Logger,
  onFinished?: (finished: Finished) => void,
): void {
  const start = performance.now()
  // `close` comes after `finish`, and also when the client left before there was an answer.
  // Not `once`, which costs a wrapper: it comes but once.
  reply.raw.on('close', () => {
    const { method } = request
    const route = request.is404 ? 'unmatched' : (request.routeOptions.url ?? 'unmatched')
    const millis = performance.now() - start
    const status = reply.raw.statusCode
    const aborted = !reply.raw.writableFinished
    onFinished?.({ method, route, status, seconds: millis / 1000 })
    const changesNothing = READS.has(method) || request.routeOptions.config.log === 'debug'
    const level = changesNothing && status < 400 ? 'debug' : 'info'
    if (!log.isLevelEnabled(level)) return
    log[level](
      {
        ...{ requestId: request.id, method, route, path: pathOf(request.url), status },
        ...{ ms: Math.round(millis * 10) / 10, principal: principalOf(request) },
        ...(aborted && { aborted }),
      },
      'request',
    )
  })
}

/** A request with a broken path never got as far as the decorator. */
const principalOf = (request: Partial<FastifyRequest>) => (request.principal ?? anonymous).id

/** Without the query, which could hold anything. */
function pathOf(url: string): string {
  const path = url.split('?', 1)[0] ?? ''
  return path.length > MAX_PATH ? `${path.slice(0, MAX_PATH)}…` : path
}
