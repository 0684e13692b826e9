import type { AccessService } from '../access/service.ts'
import type { Config } from '../config.ts'
import type { Context } from '../context.ts'
import type { Keyring } from '../keyring/keyring.ts'
import { toSeconds } from '../time.ts'
import type { UriSigningParts } from '../uri-signing/service.ts'

export interface UriSigningSources {
  context: Context
  config: Config
  access: AccessService
  keyring: Keyring
}

/** What delivery services need of the other slices. */
export const uriSigningOf = (sources: UriSigningSources): UriSigningParts => {
  const { context, config, access, keyring } = sources
  return {
    ...{ context, rights: access.rights, seals: keyring.own },
    isReady: keyring.view.isUnsealed,
    clockInDoubt: () => keyring.scheduler.lookAtClock() !== undefined,
    clockBehind() {
      const by = keyring.scheduler.lookAtClock()?.by ?? 0n
      return by < 0n ? -by : 0n
    },
    validation: config.uriSigningValidation,
    hideForeign: config.hideForeignServices,
    skew: toSeconds(config.clockSkew),
    interval: config.rootKeyGcInterval,
  }
}
