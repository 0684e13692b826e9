import type { JwtBearer } from './access/authenticate.ts'
import { CAPABILITY_NAMES } from './access/capabilities.ts'
import { createFailures } from './access/failures.ts'
import { roleGrantRoutes } from './access/role-grant-routes.ts'
import { accessRoutes } from './access/routes.ts'
import { createAccess } from './access/service.ts'
import { tenantRoutes } from './access/tenant-routes.ts'
import { userRoutes } from './access/user-routes.ts'
import { accessRing, createPlaces, identitySource, oauthAccounts } from './app/adapters.ts'
import { createBearers } from './app/bearers.ts'
import { dataApiOf, fixedSettings, trustOf } from './app/data-api.ts'
import { discoveryOf, metadataOf } from './app/documents.ts'
import { checkSwitchedOn, externalSecurityOf } from './app/external-security.ts'
import { refusedFor } from './app/refusals.ts'
import { remoteSets } from './app/remote-sets.ts'
import { trafficOpsOf } from './app/traffic-ops.ts'
import { uriSigningOf } from './app/uri-signing.ts'
import type { Config } from './config.ts'
import type { Context } from './context.ts'
import { bareText } from './data-api/errors.ts'
import { dataApiKeysRoutes, dataApiRoutes } from './data-api/routes.ts'
import { createDataApi, type DataApi } from './data-api/service.ts'
import { joinIssuer } from './discovery/configuration.ts'
import { createDirectAnswer } from './discovery/prebuilt.ts'
import { discoveryRoutes, type NomadWire } from './discovery/routes.ts'
import { manageFormat } from './external-security/errors.ts'
import { manageRoutes } from './external-security/routes.ts'
import { createExternalSecurity } from './external-security/service.ts'
import { addressKey } from './http/address.ts'
import { installAuth } from './http/auth.ts'
import { createMetrics, UNKNOWN_KID } from './http/metrics.ts'
import { documentationRoutes, registerOpenapi } from './http/openapi.ts'
import { healthRoutes, operationRoutes } from './http/operation.ts'
import { type App, answerFirst, createServer, ourApi, type TlsFiles } from './http/server.ts'
import { envelope } from './identities/errors.ts'
import { explainRoutes } from './identities/explain-routes.ts'
import { createIdentitiesSlice } from './identities/identities.ts'
import { identitiesRoutes } from './identities/routes.ts'
import type { KekProvider } from './kek/provider.ts'
import { holdMillis } from './keyring/blocking.ts'
import { plainText } from './keyring/errors.ts'
import { createKeyring, type Keyring } from './keyring/keyring.ts'
import { nomadRoutes } from './keyring/nomad.ts'
import { ringRoutes } from './keyring/routes.ts'
import { tokenRoutes } from './keyring/token-routes.ts'
import { oauthJson } from './oauth/errors.ts'
import { mountsOf } from './oauth/metadata.ts'
import { metadataRoutes, oauthRoutes } from './oauth/routes.ts'
import { createOAuth } from './oauth/service.ts'
import { createGuardedFetch } from './remote-jwks/fetch.ts'
import { createRemoteJwks } from './remote-jwks/service.ts'
import { settingsRoutes } from './settings/routes.ts'
import { createSettings, type Settings } from './settings/service.ts'
import { toSeconds } from './time.ts'
import { documentsRoutes } from './uri-signing/documents-routes.ts'
import { alerts } from './uri-signing/errors.ts'
import { serviceRoutes } from './uri-signing/routes.ts'
import { createServerSecret } from './uri-signing/server-secret.ts'
import { createUriSigning, type UriSigning } from './uri-signing/service.ts'
import { trafficOpsRoutes } from './uri-signing/traffic-ops-routes.ts'
import { versionOf } from './uri-signing/versions.ts'

// The composition root: builds each service, mounts each slice. It and the files of app/ alone know them all.

export interface AppOptions {
  config: Config
  context: Context
  /** The installation id: the one on record, or the one that bootstrap will write. */
  installation: string
  version: string
  /** The issuer of the `default` ring, once it can be known. */
  issuer(): string | undefined
  /** What the first start makes the management token; called inside the first transaction. */
  managementToken(): string
  tls?: TlsFiles | undefined
}

export interface Server {
  app: App
  /** The second listener, where one is configured: publication and health, nothing else. */
  publicApp: App | undefined
  keyring: Keyring
  access: ReturnType<typeof createAccess>
  uriSigning: UriSigning
  dataApi: DataApi
  settings: Settings
  /** Serves relying parties from what is stored, before anything is unsealed. */
  publish(): Promise<void>
  /** Unseals and makes first keys. @throws Problem `kek_wrong`, `kek_missing` */
  open(providers: readonly KekProvider[], signal: AbortSignal): Promise<void>
  /** One look at the rows that nobody needs any more: the timer's work. */
  prune(): Promise<void>
  /** Says no at `/readyz` from here on, and answers held queries. */
  drain(): void
  close(): Promise<void>
}

export async function createApp(options: AppOptions): Promise<Server> {
  const { config, context, installation, version, tls } = options
  const { log, newId } = context
  const metrics = createMetrics()
  const limiter = createFailures(config.rateLimitLogin, context.monotonic, addressKey)
  const access = createAccess(context, {
    ...{ limiter, minPasswordLength: config.minPasswordLength },
    clockInDoubt: () => keyring.scheduler.lookAtClock() !== undefined,
    jwt: (...presented) => slice.bearer(...presented),
    seals: {
      seal: (...sealing) => keyring.own.seal(...sealing),
      unseal: (...sealed) => keyring.own.unseal(...sealed),
    },
    digestSecret: () => digestSecret(),
  })
  let draining = false

  const keyring = createKeyring({
    ...{ context, installation, settings: config, joinIssuer, issuer: options.issuer },
    rootKeyAlgorithm: config.rootKeyAlgorithm,
    limits: { max: config.blockingQueriesMax, perAddress: config.blockingQueriesPerAddress },
    async alsoAtBootstrap(tx) {
      await access.ensureManagementToken(tx, options.managementToken())
    },
    onSigned: (ring, { kid, alg }) => metrics.signed({ kid, ring, alg }),
    onVerified: (kid = UNKNOWN_KID, valid) =>
      metrics.verifications.inc({ kid, result: valid ? 'valid' : 'invalid' }),
    // Offline verifiers cannot know that an access token was revoked; we do.
    endedBy: async (ring, token) =>
      ring !== 'access' || (await slice.tokens.peek(token)) ? undefined : 'The token has ended',
    onPromiseWrite: () => metrics.promiseWrites.inc(),
    onForgotten: metrics.forgetKey,
  })

  const fetching = createGuardedFetch({
    allowInternalIpConnections: config.allowInternalIpConnections,
    allowInternalHosts: config.allowInternalHosts ?? [],
  })
  const remote = createRemoteJwks(context, fetching, { isOurs: keyring.own.isOurs })
  const places = createPlaces(options.issuer)
  const slice = createIdentitiesSlice({
    ...{ context, limiter, remote, rights: access.rights, keyring: accessRing(keyring) },
    onDenied: access.recordDenied,
    ceiling: toSeconds(config.maxMachineIdentityTokenAge),
    boundary: config.privilegeBoundary,
    loginFromDefaultRing: config.loginFromDefaultRing,
    fallbackAudience: `urn:keyringd:${installation}`,
    clockInDoubt: () => keyring.scheduler.lookAtClock() !== undefined,
    tokenEndpoint: () => places()?.token,
  })
  const digestSecret = createServerSecret({
    ...{ context, seals: keyring.own, isReady: keyring.view.isUnsealed },
    name: 'digest-nonces',
  })
  const settings = createSettings({
    ...{ context, fixed: fixedSettings(config) },
    validate: {
      ...trustOf(access.users.checkJwtTrust),
      external_security: checkSwitchedOn({
        ...{ context, roleGrants: access.roleGrants, externalSecurity: () => externalSecurity },
        switchedOn: () => settings.get('external_security'),
      }),
    },
  })
  const externalSecurity = createExternalSecurity(
    externalSecurityOf({
      ...{ context, access, keyring, remote },
      switchedOn: () => settings.get('external_security'),
    }),
  )
  const dataApi = createDataApi(
    dataApiOf({ context, config, access, keyring, fetching, settings, limiter }),
  )
  const bearers = createBearers({
    ...{ settings, externalSecurity, dataApi, limiter, roleGrants: access.roleGrants },
  })
  const uriSigning = createUriSigning(uriSigningOf({ context, config, access, keyring }))
  const oauth = createOAuth({
    ...{ context, limiter, skew: toSeconds(config.clockSkew) },
    exchangeAudiences: config.tokenExchangeAudiences ?? [],
    accounts: oauthAccounts(slice, context.store),
    tokens: {
      peek: slice.tokens.peek,
      revoke: (token) => slice.tokens.revoke(token, 'any'),
    },
  })

  metrics.observe(async ({ keyAge, secondsToNextStep, heldQueries }) => {
    const now = context.now()
    heldQueries.set(keyring.blocking.held())
    for (const { ring, keys } of keyring.view.rings()) {
      for (const { kid, alg, createdAt } of keys) {
        keyAge.set({ ring: ring.name, alg, kid }, toSeconds(now - createdAt))
      }
    }
    for (const { ring, steps } of await keyring.nextSteps()) {
      for (const { step, at } of steps.toReversed()) {
        if (at !== undefined) secondsToNextStep.set({ ring, step }, toSeconds(at - now))
      }
    }
  })

  const readiness = () => {
    const waitingFor = [...(draining ? ['the end: shutting down'] : []), ...keyring.waitingFor()]
    return { ready: waitingFor.length === 0, waitingFor }
  }

  const hasNomad = config.surfaces.includes('nomad')
  const hasInfisical = config.surfaces.includes('infisical')
  const hasTrafficOps = config.surfaces.includes('traffic-ops')
  const hasSingleStore = config.surfaces.includes('singlestore')
  const hasMarkLogic = config.surfaces.includes('marklogic')
  const trafficOps = trafficOpsOf({ context, access, keyring, uriSigning })
  const nomad: NomadWire = {
    strict: config.rotationMode === 'nomad',
    region: config.region,
    index: keyring.view.index,
    async hold(request, address, after, wait) {
      const held = keyring.blocking.hold(after, holdMillis(wait), addressKey(address))
      if (!held) return
      request.socket.once('close', held.cancel)
      await held.done
      request.socket.off('close', held.cancel)
    },
  }
  const documents = discoveryOf(keyring, config, metrics.jwksRequests)

  async function publish(on: App, wire: NomadWire | undefined): Promise<void> {
    const parts = { ...documents, nomad: wire }
    await on.register(discoveryRoutes(parts))
    await on.register(metadataRoutes({ places, ...metadataOf(wire) }))
    // Fixed headers are the routes' to add.
    if (config.httpApiResponseHeaders === undefined) answerFirst(on, createDirectAnswer(parts))
  }

  const server = (bound: boolean): App =>
    createServer({
      ...{ log, newId, onFinished: metrics.finished },
      formatFor(path) {
        if (hasNomad && bound && path.startsWith('/v1/operator/keyring')) return plainText
        if (bound && path.startsWith('/oauth/')) return oauthJson
        if (hasTrafficOps && bound && versionOf(path) !== undefined) return alerts
        if (hasMarkLogic && bound && /^\/manage(?:\/|$)/.test(path)) return manageFormat
        if (hasInfisical && bound && path.startsWith('/api/v1')) return envelope
        return hasSingleStore && bound && path.startsWith('/api/') ? bareText : undefined
      },
      ...(tls && { tls }),
      ...(config.trustedProxies && { trustedProxies: config.trustedProxies }),
      ...(config.httpApiResponseHeaders && { extraHeaders: config.httpApiResponseHeaders }),
    })

  const isOwn = (url: string | undefined) => url?.startsWith('/v1/') ?? false
  const ownBearer: JwtBearer = (...presented) =>
    slice.bearer(...presented) ?? bearers.own(...presented)

  const known = new Set<string>(CAPABILITY_NAMES)
  const app = server(true)
  installAuth(app, {
    authenticate(request) {
      const { headers, ip: address, method, routeOptions } = request
      // By the route that was found, not by the path: each surface has credentials that count there only.
      switch (routeOptions.config.credentials) {
        case 'traffic-ops':
          return trafficOps.sessions.authenticate(request)
        case 'data-api':
          return dataApi.authenticate(headers, address)
        case 'manage': {
          const asked = { method, rawUrl: request.raw.url ?? '', headers, address }
          return access.authenticateManage(asked, bearers.manage)
        }
        default:
          return access.authenticate(
            headers,
            address,
            isOwn(routeOptions.url) ? ownBearer : undefined,
          )
      }
    },
    known,
    onDenied: (principal, needed) => access.recordDenied(principal, needed),
  })
  // What the guard of a route lets pass, and a service refuses, is on record as well.
  app.addHook('onError', async (request, _, error) => {
    const needed = refusedFor(error, request)
    if (needed === undefined) return
    await access.recordDenied(request.principal, needed).catch((cause: unknown) => {
      log.error({ err: cause, needed }, 'a refusal could not be recorded')
    })
  })
  await registerOpenapi(app, { version })
  await app.register(operationRoutes({ readiness, metrics, metricsPublic: config.metricsPublic }))
  await app.register(documentationRoutes())
  await publish(app, hasNomad ? nomad : undefined)
  if (hasNomad) {
    const { rotation, removal, view, blocking } = keyring
    const parts = { rotation, removal, view, blocking, region: config.region }
    await app.register(nomadRoutes(parts), { prefix: '/v1/operator/keyring' })
    app.all(
      '/v1/operator/keyring',
      { config: { capability: 'public' }, schema: { hide: true } },
      async (request, reply) => {
        const query = request.url.indexOf('?')
        const rest = query === -1 ? '' : request.url.slice(query)
        return reply.redirect(`/v1/operator/keyring/${rest}`, 301)
      },
    )
  }
  if (hasInfisical)
    await app.register(identitiesRoutes({ ...slice, onDenied: access.recordDenied }), {
      prefix: '/api/v1',
    })
  if (hasTrafficOps) await app.register(trafficOpsRoutes(trafficOps))
  if (hasSingleStore) await app.register(dataApiRoutes({ dataApi, settings }))
  if (hasMarkLogic) {
    const { challenges } = access
    await app.register(manageRoutes({ context, externalSecurity, challenges }))
  }
  for (const prefix of mountsOf(config.oidcIssuer)) {
    await app.register(oauthRoutes({ oauth, places }), { prefix })
  }
  await app.register(async (own) => {
    ourApi(own as App)
    await own.register(accessRoutes(access))
    await own.register(tenantRoutes(access))
    await own.register(userRoutes(access))
    await own.register(ringRoutes(keyring, () => remoteSets(remote, dataApi)))
    await own.register(roleGrantRoutes(access.roleGrants))
    await own.register(settingsRoutes(settings))
    await own.register(dataApiKeysRoutes(dataApi))
    await own.register(
      tokenRoutes(keyring, {
        ...{ identity: identitySource(slice), dataApi: dataApi.verify },
        externalSecurity: externalSecurity.verify,
      }),
    )
    await own.register(explainRoutes(slice))
    const parts = { ...uriSigning, onDenied: access.recordDenied }
    await own.register(serviceRoutes(parts))
    await own.register(documentsRoutes(parts))
  })

  let publicApp: App | undefined
  if (config.publicPort !== undefined) {
    publicApp = server(false)
    installAuth(publicApp, {
      authenticate: async () => {
        throw new Error('the public listener takes no credentials')
      },
      known,
    })
    await publicApp.register(healthRoutes(readiness))
    await publish(publicApp, undefined)
  }

  return {
    ...{ app, publicApp, keyring, access, uriSigning, dataApi, settings },
    publish: keyring.publish,
    async open(providers, signal) {
      await slice.start()
      await keyring.open(providers, signal)
      const { adminUser, adminPassword } = config
      if (adminUser !== undefined && adminPassword) {
        await access.users.ensureAdmin(adminUser, adminPassword.reveal())
      }
      await settings.load()
      await dataApi.load()
      access.start()
      uriSigning.start()
    },
    async prune() {
      await slice.prune()
      await access.prune()
    },
    drain() {
      draining = true
      keyring.blocking.close()
    },
    async close() {
      await Promise.all([app.close(), publicApp?.close()])
      await uriSigning.close()
      await dataApi.close()
      externalSecurity.close()
      await keyring.close()
      slice.close()
      settings.close()
      access.close()
    },
  }
}
