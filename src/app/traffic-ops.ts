import type { AccessService } from '../access/service.ts'
import type { Context } from '../context.ts'
import type { Keyring } from '../keyring/keyring.ts'
import { createServerSecret } from '../uri-signing/server-secret.ts'
import type { UriSigning } from '../uri-signing/service.ts'
import { createSessions } from '../uri-signing/sessions.ts'
import type { TrafficOpsParts } from '../uri-signing/traffic-ops-routes.ts'

export interface TrafficOpsSources {
  context: Context
  access: AccessService
  keyring: Keyring
  uriSigning: UriSigning
}

/** What the Traffic Ops surface needs of the other slices. */
export function trafficOpsOf(sources: TrafficOpsSources): TrafficOpsParts {
  const { context, access, keyring, uriSigning } = sources
  const { documents, services } = uriSigning
  const sessions = createSessions({
    context,
    secret: createServerSecret({
      ...{ context, seals: keyring.own, isReady: keyring.view.isUnsealed },
      name: 'traffic-ops-sessions',
    }),
    ...{ sessions: access.sessions, users: access.users, loginTokens: access.loginTokens },
    byToken: access.authenticate,
    onDenied: access.recordDenied,
  })
  return {
    sessions,
    documents,
    async checkService(principal, xmlId) {
      await services.find(principal, xmlId)
    },
    isReady: keyring.view.isUnsealed,
    onDenied: access.recordDenied,
  }
}
