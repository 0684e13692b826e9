import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { anonymous, type Principal, type Resource } from '../context.ts'
import { Problem } from '../errors.ts'

/**
 * What a route asks of its caller: `'public'` (credentials are not even looked at), `'authenticated'` (anybody we
 * know), a capability, a capability on what the request names, or a function for a route that depends on the request.
 */
export type Requirement = string | ResourceRequirement | ((request: FastifyRequest) => Requirement)

export interface ResourceRequirement {
  capability: string
  /** Undefined: on nothing in particular. */
  on?: (request: FastifyRequest) => Resource
  /** What kind of thing that is; default `ring`. For the documentation. */
  scope?: 'ring' | 'delivery-service'
  /** A grant on anything, or on anything in the ring, will do for now: the handler asks again, and knows on what. */
  some?: true
}

export interface Authenticated {
  principal: Principal
  /** A credential was there, good or not. */
  presented: boolean
  /** Why the credential does not count, where there is more to say than that it does not. */
  failure?: Problem
  /** A second look at the same credential, which is no second use of it; absent: look as at first. */
  again?(): Authenticated | Promise<Authenticated>
}

export interface AuthOptions {
  /** Never throws for a bad credential: that is `anonymous` with `presented`. */
  authenticate(request: FastifyRequest): Authenticated | Promise<Authenticated>
  /** Every capability there is: a route that asks for another one stops the start. */
  known: ReadonlySet<string>
  /** A known caller was refused. For the audit record. */
  onDenied?(principal: Principal, needed: string, request: FastifyRequest): Promise<void>
}

/** Where a request keeps whom the first look found. Not a WeakMap: one entry for every request costs the collector. */
const FOUND = Symbol('authenticated')

interface Looked {
  [FOUND]: Authenticated | null
}

const OPEN: ReadonlySet<string> = new Set(['public', 'authenticated'])

/**
 * Authenticates, then authorizes, before any body is read. Call it before routes are added: a route without
 * `config.capability` stops the server from starting. The check is the last onRequest hook of its route, so that a
 * surface may report what its original reports earlier.
 */
export function installAuth<App extends FastifyInstance>(app: App, options: AuthOptions): void {
  app.decorateRequest(FOUND, null)
  app.decorateRequest('principal', {
    getter(this: FastifyRequest) {
      return foundOf(this)?.principal ?? anonymous
    },
  })
  app.addHook('onRoute', (route) => {
    const requirement = checked(route, options.known)
    if (requirement === 'public') return
    const check = guard(requirement, options)
    route.onRequest = [...[route.onRequest ?? []].flat(), check]
    // A body may take minutes to arrive: who lost the credential or the right meanwhile is refused all the same.
    route.preHandler = [check, ...[route.preHandler ?? []].flat()]
  })
}

function checked(route: RouteOptions, known: ReadonlySet<string>): Requirement {
  const requirement = route.config?.capability
  const place = `The route ${route.method} ${route.url}`
  if (requirement === undefined) throw new Error(`${place} names no capability`)
  if (typeof requirement !== 'function') {
    const name = nameOf(requirement)
    if (!known.has(name) && !OPEN.has(name)) throw new Error(`${place} asks for unknown ${name}`)
  }
  return requirement
}

const nameOf = (requirement: Exclude<Requirement, (...args: never[]) => unknown>): string =>
  typeof requirement === 'string' ? requirement : requirement.capability

function guard(requirement: Requirement, options: AuthOptions) {
  /** Throws, or rejects once the refusal is on record. */
  function decide(
    request: FastifyRequest,
    wanted: string | ResourceRequirement,
    found: Authenticated,
  ): Promise<void> | undefined {
    const name = nameOf(wanted)
    const { principal, presented } = found
    if (principal.id === anonymous.id) throw found.failure ?? unauthenticated(presented)
    const before = foundOf(request)
    ;(request as unknown as Looked)[FOUND] = found
    // The second look: what this very principal may never changes, and neither does what the path asks for.
    if (before?.principal === principal) return undefined
    if (name === 'authenticated') return undefined
    if (!options.known.has(name)) throw new Error(`Unknown capability ${name}`)
    const { on, some } = typeof wanted === 'string' ? {} : wanted
    const resource = on?.(request)
    const ring = resource && 'ring' in resource ? resource.ring : undefined
    const allowed = some ? principal.maySome(name, ring) : principal.may(name, resource)
    return allowed ? undefined : deny(request, principal, formatNeed(name, resource))
  }

  async function deny(request: FastifyRequest, principal: Principal, needed: string) {
    await options.onDenied?.(principal, needed, request)
    throw new Problem('forbidden', `This needs ${needed}`)
  }

  function check(request: FastifyRequest): Promise<void> | undefined {
    let wanted = requirement
    while (typeof wanted === 'function') wanted = wanted(request)
    const needed = wanted
    if (nameOf(needed) === 'public') return undefined
    const found = foundOf(request)?.again?.() ?? options.authenticate(request)
    if (!(found instanceof Promise)) return decide(request, needed, found)
    return found.then((one) => decide(request, needed, one))
  }

  // With a callback: most callers are known at once, and an async hook would make every request wait its turn.
  return (request: FastifyRequest, _: FastifyReply, done: (error?: Error) => void): void => {
    let pending: Promise<void> | undefined
    try {
      pending = check(request)
    } catch (error) {
      done(error instanceof Error ? error : new Problem('internal', undefined, { cause: error }))
      return
    }
    if (pending) pending.then(() => done(), done)
    else done()
  }
}

const foundOf = (request: FastifyRequest) => (request as unknown as Looked)[FOUND]

const unauthenticated = (presented: boolean) =>
  new Problem(
    'unauthenticated',
    presented ? 'The credential is unknown or has expired' : 'This needs a credential',
  )

const MAX_NAME = 200

function nameIn(resource: Resource): string {
  if ('deliveryService' in resource) return `delivery-service:${resource.deliveryService}`
  const { ring, profile } = resource
  return profile === undefined ? `ring:${ring}` : `profile:${ring}/${profile}`
}

/** As a grant would be written (product.md section 4). */
export function formatNeed(capability: string, resource: Resource | undefined): string {
  if (!resource) return capability
  return `${capability}@${nameIn(resource).slice(0, MAX_NAME)}`
}

declare module 'fastify' {
  interface FastifyContextConfig {
    capability?: Requirement
    /** Credentials that count on this surface only, and who looks at them. */
    credentials?: 'traffic-ops' | 'data-api' | 'manage'
    /** What `capability` comes to, in words, where it is a function. For the documentation. */
    capabilityText?: string
  }
  interface FastifyRequest {
    /** Who asks; `anonymous` on public routes. */
    readonly principal: Principal
  }
}
