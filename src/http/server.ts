import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
  type RawServerDefault,
} from 'fastify'
import {
  createSerializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod'
import type { Logger } from 'pino'
import type { z } from 'zod'
import { answerClientError } from './client-error.ts'
import { createLeaveTogether } from './leave-together.ts'
import {
  errorHandler,
  type Format,
  notFoundHandler,
  ourErrors,
  ProblemDocument,
  problemJson,
} from './problem.ts'
import { type Finished, watchRequest } from './request-log.ts'

/** The Fastify instance of this server: schemas are zod, and handlers get their types. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>

/** What a slice's `routes.ts` returns and `app.register` takes. */
export type Routes = (app: App) => Promise<void>

export interface TlsFiles {
  /** PEM. */
  cert: string | Buffer
  key: string | Buffer
}

export interface ServerOptions {
  log: Logger
  newId(): string
  /** Bytes; default 1 MiB. */
  bodyLimit?: number
  tls?: TlsFiles
  /** Addresses or CIDR ranges whose X-Forwarded-For is believed. */
  trustedProxies?: readonly string[]
  /** Fixed headers on every answer, the prebuilt ones too (HTTP_API_RESPONSE_HEADERS). */
  extraHeaders?: Readonly<Record<string, string>>
  /** The words for what fails before a route is found, by path. Default: ours. */
  formatFor?(path: string): Format | undefined
  /** Told of every request that is logged, for the metrics. */
  onFinished?(finished: Finished): void
}

const MIB = 1024 * 1024
/** Bytes: two tokens of the greatest size we read (core/strict.ts) do not fit, one with its company does. */
const MAX_HEADER_SIZE = 32 * 1024
const SECOND = 1000

/**
 * Limits for what a client sends, none for how long it waits: held queries last over five minutes. Our error format
 * and not-found answer stand at the root; a surface sets its own in its plugin.
 */
export function createServer(options: ServerOptions): App {
  const { log, bodyLimit = MIB, tls, trustedProxies, extraHeaders, formatFor } = options
  const limits = {
    maxHeaderSize: MAX_HEADER_SIZE,
    headersTimeout: 60 * SECOND,
    requestTimeout: 120 * SECOND,
  }
  // Unique over restarts, and far cheaper than randomness for every request.
  const prefix = options.newId().slice(0, 8)
  let requests = 0

  /** A factory of child loggers would do the same at several times the cost. */
  function useLog(request: FastifyRequest, reply: FastifyReply): void {
    request.log = log
    reply.log = log
  }

  const app = fastify({
    ...(tls ? { https: { ...limits, ...tls } } : { http: limits }),
    requestTimeout: limits.requestTimeout,
    keepAliveTimeout: 75 * SECOND,
    connectionTimeout: 0,
    bodyLimit,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    trustProxy: trustedProxies?.length ? [...trustedProxies] : false,
    requestIdHeader: false,
    genReqId: () => `req-${prefix}${(++requests).toString(36).padStart(6, '0')}`,
    // Fastify's own logging costs every request, the prebuilt answers too; `watchRequest` costs those it watches.
    logController: new LogController({ disableRequestLogging: true }),
    // No parameter is longer than the header block that carries it.
    routerOptions: { caseSensitive: true, maxParamLength: MAX_HEADER_SIZE },
    clientErrorHandler: (error, socket) => answerClientError(error, socket, formatFor),
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
      const format = formatFor?.(request.url.split('?', 1)[0] ?? '') ?? problemJson
      useLog(request, reply)
      watchRequest(request, reply, log, options.onFinished)
      errorHandler(format)(error, request, reply)
    },
  }).withTypeProvider<ZodTypeProvider>() as unknown as App

  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(createSerializerCompiler({ replacer: bareIntegers }))
  app.removeContentTypeParser('text/plain')
  app.setErrorHandler(errorHandler(problemJson))
  app.setNotFoundHandler(notFoundHandler(problemJson))

  closeIdleWhenClosing(app, tls ? 'secureConnection' : 'connection')

  if (extraHeaders && Object.keys(extraHeaders).length > 0) {
    app.addHook('onRequest', async (_, reply) => {
      // On the raw response, so that a hijacked reply carries them.
      for (const [name, value] of Object.entries(extraHeaders)) reply.raw.setHeader(name, value)
    })
  }
  app.addHook('onRequest', (request, reply, done) => {
    useLog(request, reply)
    if (request.routeOptions.config.log !== false) {
      reply.header('x-request-id', request.id)
      watchRequest(request, reply, log, options.onFinished)
    }
    done()
  })
  const leaveTogether = createLeaveTogether()
  app.addHook('onSend', (_request, _reply, _payload, done) => leaveTogether(done))
  return app
}

/** Milliseconds between two looks for connections whose last answer is out. */
const IDLE_LOOK = 50

/**
 * Node closes idle connections once, when closing begins. What is answered after that would be kept alive, and a
 * connection on which nothing was ever sent counts as busy for a minute: either would hold up the end.
 */
function closeIdleWhenClosing(app: App, event: 'connection' | 'secureConnection'): void {
  const { server } = app
  const open = new Set<Socket>()
  server.on(event, (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  app.addHook('preClose', (done) => {
    for (const socket of open) if (socket.bytesRead === 0) socket.destroy()
    if (server.listening) {
      const timer = setInterval(() => server.closeIdleConnections(), IDLE_LOOK)
      server.once('close', () => clearInterval(timer))
    }
    done()
  })
}

/**
 * Lets `answer` see every request before the routes do: true when it has answered. While the server closes, all go to
 * the routes, which end their connections.
 */
export function answerFirst(
  app: App,
  answer: (request: IncomingMessage, response: ServerResponse) => boolean,
): void {
  const { server } = app
  const routes = server.listeners('request')
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    if (server.listening && answer(request, response)) return
    for (const route of routes) route.call(server, request, response)
  })
}

/** JSON.stringify refuses a BigInt; on the wire it is a bare integer of any size. */
function bareIntegers(_name: string, value: unknown): unknown {
  return typeof value === 'bigint' ? rawJson(String(value)) : value
}

const { rawJSON: rawJson } = JSON as unknown as { rawJSON(text: string): unknown }

/** Takes a renewed certificate for the connections to come. Throws when the pair does not load. */
export function replaceTls(app: App, tls: TlsFiles): void {
  const server = app.server as unknown as HttpsServer
  server.setSecureContext({ cert: tls.cert, key: tls.key })
}

/** For the scope of our own routes. */
export function ourApi(app: App): void {
  failsWith(app, 'application/problem+json', ProblemDocument)
  app.setErrorHandler(ourErrors)
  assumeJson(app)
}

/** Says what every error of the routes of a scope looks like, for openapi.yaml. */
export function failsWith(app: App, type: string, schema: z.ZodType): void {
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, failure: { type, schema } }
  })
}

/** A body without a content type is JSON, and a content type without a body is nobody's fault. */
export function assumeJson(app: App): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const { headers } = request.raw
    const length = headers['content-length']
    const hasBody =
      headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
    if (!hasBody) delete headers['content-type']
    else headers['content-type'] ??= 'application/json'
    done()
  })
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * False: no log line, no request id header, no histogram; for replies that are hijacked. `'debug'`: what went well
     * is logged at that level only, as reads are, although the method is none of a read.
     */
    log?: boolean | 'debug'
    /** Set by `failsWith`. */
    failure?: { type: string; schema: z.ZodType }
  }
}
