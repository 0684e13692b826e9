import type { AccessService } from '../access/service.ts'
import { anonymous } from '../context.ts'
import { parseJsonStrict } from '../core/index.ts'
import type { DataApi } from '../data-api/service.ts'
import { isProblem, Problem } from '../errors.ts'
import type { ExternalSecurity } from '../external-security/service.ts'
import type { Authenticated } from '../http/auth.ts'
import type { Settings } from '../settings/service.ts'

// Whose a bearer is that is neither an API token nor an access token (product.md section 4): decided once, by the place
// and by what the token says of its issuer; no other source is asked then.

export interface BearerSources {
  settings: Settings
  externalSecurity: ExternalSecurity
  dataApi: DataApi
  roleGrants: AccessService['roleGrants']
  limiter: {
    check(account: string, address: string): void
    failed(account: string | undefined, address: string): void
  }
}

type Look = (token: string, address: string, digest: Buffer) => Promise<Authenticated>

const NOBODY: Authenticated = { principal: anonymous, presented: true }

/** Unverified: it only says whose keys are asked. */
function issuerIn(token: string): string | undefined {
  try {
    const claims: unknown = parseJsonStrict(Buffer.from(token.split('.')[1] ?? '', 'base64url'))
    const iss = typeof claims === 'object' && claims !== null && 'iss' in claims ? claims.iss : ''
    return typeof iss === 'string' ? iss : undefined
  } catch (error) {
    if (isProblem(error)) return undefined
    throw error
  }
}

export function createBearers(sources: BearerSources) {
  const { settings, externalSecurity, dataApi, roleGrants, limiter } = sources

  /** The configurations that are switched on, with the issuer that each has. */
  async function configurations(): Promise<{ name: string; issuer: string }[]> {
    const found: { name: string; issuer: string }[] = []
    for (const name of settings.get('external_security')) {
      const issuer = await externalSecurity.issuerOf(name)
      if (issuer !== undefined) found.push({ name, issuer })
    }
    return found
  }

  const external =
    (name: string): Look =>
    async (token) => {
      const { user } = await externalSecurity.authenticate(name, token)
      if (!user) return NOBODY
      const principal = await roleGrants.principalOf(user)
      // What it makes ends with it.
      return { principal: { ...principal, expiresAt: user.expiresAt }, presented: true }
    }

  /** The one that is meant; none where there are two. */
  async function ask(looks: readonly Look[], ...presented: Parameters<Look>) {
    const [look, ...others] = looks
    const [, address] = presented
    try {
      limiter.check('', address)
      const found = look && others.length === 0 ? await look(...presented) : NOBODY
      if (found.principal.id === anonymous.id && !found.failure) limiter.failed(undefined, address)
      return found
    } catch (error) {
      if (!isProblem(error, 'rate_limited')) throw error
      return {
        ...NOBODY,
        failure: new Problem('rate_limited', error.detail, { extra: error.extra }),
      }
    }
  }

  return {
    /** On `/manage`: the configurations that are switched on, and nobody else. */
    async manage(...presented: Parameters<Look>): Promise<Authenticated> {
      const iss = issuerIn(presented[0])
      const all = await configurations()
      const named = all.filter(({ issuer }) => issuer !== '' && issuer === iss)
      const meant = named.length > 0 ? named : all.filter(({ issuer }) => issuer === '')
      return ask(
        meant.map(({ name }) => external(name)),
        ...presented,
      )
    },

    /** On `/v1`: the one source whose issuer the token names; a source without one is not asked. */
    async own(...presented: Parameters<Look>): Promise<Authenticated> {
      const iss = issuerIn(presented[0])
      if (iss === undefined || iss === '') return NOBODY
      const named = (await configurations()).filter(({ issuer }) => issuer === iss)
      const looks = named.map(({ name }) => external(name))
      if (dataApi.issuer() === iss) looks.push(dataApi.bearerOf)
      return ask(looks, ...presented)
    },
  }
}
