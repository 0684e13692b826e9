import type { AccessService } from '../access/service.ts'
import type { Config } from '../config.ts'
import type { Context, Principal } from '../context.ts'
import type { DataApiParts } from '../data-api/service.ts'
import { readStaticKeys } from '../data-api/static-file.ts'
import type { Keyring } from '../keyring/keyring.ts'
import type { GuardedFetch } from '../remote-jwks/fetch.ts'
import type { Settings, SettingsParts } from '../settings/service.ts'

export interface DataApiSources {
  context: Context
  config: Config
  access: AccessService
  keyring: Keyring
  fetching: GuardedFetch
  settings: Settings
  limiter: DataApiParts['limiter']
}

/** What the data API needs of the other slices. @throws Problem `config_invalid` for a static file that is no good */
export function dataApiOf(sources: DataApiSources): DataApiParts {
  const { context, config, access, keyring, fetching, settings, limiter } = sources
  const { jwtAuthConfigFile } = config
  return {
    ...{ context, settings, limiter },
    fetch: fetching.fetch,
    isOurs: keyring.own.isOurs,
    check: keyring.own.check,
    fixed: jwtAuthConfigFile === undefined ? undefined : readStaticKeys(jwtAuthConfigFile),
    jwtUser: access.users.jwtUser,
    byToken: access.authenticate,
    basic: access.basic,
  }
}

/** The settings that say which tokens are believed: who sets one can become every user whom tokens may be of. */
export function trustOf(
  checkTrust: (principal: Principal) => Promise<void>,
): SettingsParts['validate'] {
  const check = (_: unknown, principal: Principal) => checkTrust(principal)
  return {
    ...{ jwks_endpoint: check, jwks_issuer: check, jwks_username_field: check },
    ...{ jwks_require_audience: check, jwks_ssl_ca_certificate: check },
  }
}

/** Run-time settings that the environment gives. */
export const fixedSettings = (config: Config): SettingsParts['fixed'] => ({
  jwks_endpoint: config.jwksEndpoint,
  jwks_issuer: config.jwksIssuer,
  jwks_username_field: config.jwksUsernameField,
  jwks_require_audience: config.jwksRequireAudience,
  jwks_ssl_ca_certificate: config.jwksSslCaCertificate,
  jwks_update_interval: config.jwksUpdateInterval,
  http_api: config.httpApi,
  http_api_pool_capacity: config.httpApiPoolCapacity,
  external_security: config.externalSecurity,
})
