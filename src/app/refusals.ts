import { isProblem } from '../errors.ts'

const NEEDS = /^This needs (.+)$/

/** What a refusal is recorded as, wherever it was decided; undefined: the error is none. */
export function refusedFor(error: unknown, { params }: { params: unknown }): string | undefined {
  if (isProblem(error, 'privilege_boundary')) return 'privilege-boundary'
  if (isProblem(error, 'tenant_forbidden')) {
    const { xml_id: xmlId } = (params ?? {}) as { xml_id?: unknown }
    return typeof xmlId === 'string' ? `tenant@delivery-service:${xmlId.slice(0, 200)}` : 'tenant'
  }
  return isProblem(error, 'forbidden') ? NEEDS.exec(error.detail)?.[1] : undefined
}
