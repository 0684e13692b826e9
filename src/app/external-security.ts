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
      endGrants: access.roleGrants.endAll,
    },
    isOurs: keyring.own.isOurs,
    isSwitchedOn: (name) => sources.switchedOn().includes(name),
    check: keyring.own.check,
  }
}

/**
 * What the setting `external_security` may hold, and who may say so: he must have all that the role grants of these
 * configurations give. @throws Problem `invalid_request` with the reason, `privilege_boundary`
 */
export const checkSwitchedOn =
  ({ store }: Context, roleGrants: AccessService['roleGrants'], others: () => ExternalSecurity) =>
  async (names: readonly string[], principal: Principal): Promise<void> => {
    await roleGrants.checkBoundary(store.read, principal, undefined)
    for (const name of names) {
      const fault = await others().whyNot(name)
      if (fault !== undefined) throw unfit(`${name.slice(0, 64)} cannot authenticate: ${fault}`)
      const row = await store.read.externalSecurities.byName(name)
      await roleGrants.checkBoundary(store.read, principal, row?.id)
    }
  }

const unfit = (message: string) =>
  new Problem('invalid_request', message, {
    extra: { errors: [{ path: 'body/value', message }] },
  })
