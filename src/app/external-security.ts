import type { AccessService } from '../access/service.ts'
import type { Context } from '../context.ts'
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
    rights: { checkBoundary: access.roleGrants.checkBoundary },
    isOurs: keyring.own.isOurs,
    isSwitchedOn: (name) => sources.switchedOn().includes(name),
    check: keyring.own.check,
  }
}

/** What the setting `external_security` may hold. @throws Problem `invalid_request` with the reason */
export const checkSwitchedOn =
  (externalSecurity: () => Pick<ExternalSecurity, 'whyNot'>) =>
  async (names: readonly string[]): Promise<void> => {
    for (const name of names) {
      const fault = await externalSecurity().whyNot(name)
      if (fault === undefined) continue
      const message = `${name.slice(0, 64)} cannot authenticate: ${fault}`
      throw new Problem('invalid_request', message, {
        extra: { errors: [{ path: 'body/value', message }] },
      })
    }
  }
