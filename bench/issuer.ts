// What signing is measured against: oidc-provider, which issues JWT access tokens to a client by its credentials, with
// its own adapter in memory. One resource server for each algorithm.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const CLIENT = { id: 'bench', secret: 'bench-secret-of-the-only-client' }
const ISSUER = 'http://127.0.0.1'

function privateJwk(alg: string) {
  const { privateKey } =
    alg === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : alg === 'ES256'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('ed25519')
  return { ...privateKey.export({ format: 'jwk' }), kid: alg, alg, use: 'sig' }
}

const ALGORITHMS = ['EdDSA', 'ES256', 'RS256']
const provider = new Provider(ISSUER, {
  clients: [
    {
      ...{ client_id: CLIENT.id, client_secret: CLIENT.secret },
      ...{ token_endpoint_auth_method: 'client_secret_post', grant_types: ['client_credentials'] },
      ...{ redirect_uris: [], response_types: [] },
    },
  ],
  jwks: { keys: ALGORITHMS.map(privateJwk) },
  enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context: unknown, resource: string) => ({
        ...{ scope: 'bench', audience: resource, accessTokenTTL: 3600, accessTokenFormat: 'jwt' },
        jwt: { sign: { alg: resource.split(':').at(-1) } },
      }),
    },
  },
})

process.on('disconnect', () => process.exit(0))
const server = createServer(provider.callback())
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address === null || typeof address !== 'object') return
  const form = (alg: string) =>
    new URLSearchParams({
      ...{ grant_type: 'client_credentials', scope: 'bench', resource: `urn:bench:${alg}` },
      ...{ client_id: CLIENT.id, client_secret: CLIENT.secret },
    }).toString()
  process.send?.({
    port: address.port,
    bodies: Object.fromEntries(ALGORITHMS.map((alg) => [alg, form(alg)])),
  })
})
