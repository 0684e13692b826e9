import type { FastifyReply, FastifyRequest } from 'fastify'
import { Problem } from '../errors.ts'
import { errorHandler, notFoundHandler } from '../http/problem.ts'
import type { App, Routes } from '../http/server.ts'
import { alerts } from './errors.ts'
import { type KeysParts, keysRoutes } from './keys-routes.ts'
import { sessionRoutes } from './session-routes.ts'
import type { Sessions } from './sessions.ts'
import { VERSIONS } from './versions.ts'

export interface TrafficOpsParts extends KeysParts {
  sessions: Sessions
}

/** Everything below `/api/<digits>.<digits>`: known versions, 501 for the others (contract section 1). */
export function trafficOpsRoutes(parts: TrafficOpsParts): Routes {
  const { sessions } = parts

  /** Types are ignored, and nothing parses a body on the way (section 2). */
  /** With a callback, as a hook of every request. */
  function dropType({ raw }: FastifyRequest, reply: FastifyReply, done: () => void): void {
    // Not deleted: that would cost more than all the rest.
    raw.headers['content-type'] = undefined
    reply.header('cache-control', 'no-store')
    done()
  }

  return async (app) => {
    app.setErrorHandler(errorHandler(alerts))
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_: unknown, body: Buffer) => body)
    // Schemas are for the documentation here: handlers get bytes, and say themselves what is wrong with them.
    app.setValidatorCompiler(() => (value) => ({ value }))
    app.addHook('onRequest', dropType)
    for (const version of VERSIONS) {
      const prefix = `/api/${version}`
      sessionRoutes(app, prefix, sessions)
      keysRoutes(app, prefix, parts)
      // Methods that the router does not know end here.
      const odd = async (below: App) => {
        below.setNotFoundHandler(notFoundHandler(alerts))
      }
      await app.register(odd, { prefix })
    }
    const anyVersion = '/api/:version(^\\d+\\.\\d+$)'
    for (const url of [anyVersion, `${anyVersion}/*`]) {
      app.all(url, {
        ...{ schema: { hide: true }, config: { capability: 'public' } },
        // Before a body is read.
        onRequest: async () => {
          throw new Problem('not_found')
        },
        handler: async () => undefined,
      })
    }
  }
}
