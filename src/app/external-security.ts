import type { AccessService } from '../access/service.ts'
import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { ExternalSecurity, ExternalSecurityParts } from '../external-security/service.ts'
import type { Keyring } from '../keyring/keyring.ts'
import type { RemoteJwks } from '../remote-jwks/service.ts'

export interface ExternalSecuritySources {
  context: Context
  access: AccessService
  keyring: Keyring
  remote: RemoteJwks
  /** The setting `external_security`, as it is now. */
  switchedOn(): readonly string[]
}

/** What external-security configurations need of the other slices. */
export function externalSecurityOf(sources: ExternalSecuritySources): ExternalSecurityParts {
  const { context, access, keyring, remote } = sources
  return {
    ...{ context, seals: keyring.own, remote },
    rights: {
      checkBoundary: access.roleGrants.checkBoundary,
      checkTrust: access.roleGrants.checkTrust,
      endGrants: access.roleGrants.endAll,
    },
    isOurs: keyring.own.isOurs,
    switchedOn: sources.switchedOn,
    check: keyring.own.check,
  }
}

export interface SwitchedOnParts {
  context: Pick<Context, 'store'>
  roleGrants: Pick<AccessService['roleGrants'], 'checkBoundary' | 'checkTrust'>
  externalSecurity(): Pick<ExternalSecurity, 'whyNot'>
  /** The setting as it is now. */
  switchedOn(): readonly string[]
}

/**
 * What the setting `external_security` may hold, and who may say so: he must have all that the role grants of these
 * configurations give, and of those that it takes out. @throws Problem `invalid_request` with the reason,
 * `privilege_boundary`
 */
export function checkSwitchedOn(parts: SwitchedOnParts) {
  const { roleGrants, externalSecurity, switchedOn } = parts
  const { read } = parts.context.store
  const idOf = async (name: string) => (await read.externalSecurities.byName(name))?.id

  return async (names: readonly string[], principal: Principal): Promise<void> => {
    await roleGrants.checkBoundary(read, principal, undefined)
    for (const name of switchedOn()) {
      if (!names.includes(name)) await roleGrants.checkBoundary(read, principal, await idOf(name))
    }
    for (const name of names) {
      const fault = await externalSecurity().whyNot(name)
      if (fault !== undefined) throw unfit(`${name.slice(0, 64)} cannot authenticate: ${fault}`)
      await roleGrants.checkTrust(read, principal, await idOf(name))
    }
  }
}

const unfit = (message: string) =>
  new Problem('invalid_request', message, {
    extra: { errors: [{ path: 'body/value', message }] },
  })
