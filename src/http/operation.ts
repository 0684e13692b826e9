import { z } from 'zod'
import type { Metrics } from './metrics.ts'
import type { Routes } from './server.ts'

export interface Readiness {
  ready: boolean
  /** What is missing, in plain words; empty when ready. */
  waitingFor: readonly string[]
}

export interface OperationParts {
  /** Asked at every `/readyz`. */
  readiness(): Readiness
  metrics: Metrics
  /** METRICS_PUBLIC; else `/metrics` needs `keyring-read`. */
  metricsPublic: boolean
}

const Alive = z.object({ status: z.literal('ok') }).meta({ id: 'Alive' })
const Ready = z
  .object({
    status: z.enum(['ready', 'waiting']),
    waitingFor: z.array(z.string()).describe('What has to happen first'),
  })
  .meta({ id: 'Ready' })

const health = { tags: ['operation'] }

/** `/healthz` and `/readyz`, for every listener. HEAD works too: some probes ask so. */
export function healthRoutes(readiness: OperationParts['readiness']): Routes {
  return async (app) => {
    app.get(
      '/healthz',
      {
        exposeHeadRoute: true,
        config: { capability: 'public' },
        schema: {
          ...{ ...health, operationId: 'health', summary: 'The process is alive' },
          response: { 200: Alive },
        },
      },
      async () => ({ status: 'ok' as const }),
    )

    app.get(
      '/readyz',
      {
        exposeHeadRoute: true,
        config: { capability: 'public' },
        schema: {
          ...{ ...health, operationId: 'ready', summary: 'The server can do all it is for' },
          response: { 200: Ready, 503: Ready },
        },
      },
      async (_, reply) => {
        const { ready, waitingFor } = readiness()
        reply.code(ready ? 200 : 503).header('cache-control', 'no-store')
        return {
          status: ready ? ('ready' as const) : ('waiting' as const),
          waitingFor: [...waitingFor],
        }
      },
    )
  }
}

/** Health and metrics. */
export function operationRoutes({ readiness, metrics, metricsPublic }: OperationParts): Routes {
  return async (app) => {
    await app.register(healthRoutes(readiness))

    app.get(
      '/metrics',
      {
        config: { capability: metricsPublic ? 'public' : 'keyring-read' },
        schema: {
          ...{ ...health, operationId: 'metrics', summary: 'Measurements for Prometheus' },
          response: { 200: { content: { 'text/plain': { schema: z.string() } } } },
        },
      },
      async (_, reply) => {
        const text = await metrics.text()
        return reply.type(metrics.contentType).send(Buffer.from(text) as unknown as string)
      },
    )
  }
}
