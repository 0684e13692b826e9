import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { InfisicalSDK } from '@infisical/sdk'
import { decodeJwt } from 'jose'
import { makeHome, request, start } from '../system/process.ts'

// Infisical's own clients against a server that really runs: the Node SDK as it is, and requests as its API reference
// prints them and its Terraform provider sends them (identity contract section 16). A ring of the server is the issuer.

const PATH = '/api/v1/auth/jwt-auth/identities'

async function startServer(t: TestContext) {
  const server = start(t, makeHome(t), { settings: { ROOT_KEY_ALGORITHM: 'ES256' } })
  await server.ready()
  const ring = await server.call('POST', '/v1/rings', { name: 'ci', algorithms: ['ES256'] })
  assert.equal(ring.status, 201, ring.text)
  const body = { name: 'ci', organizationId: 'any', role: 'member' }
  const made = await server.call('POST', '/api/v1/identities', body)
  assert.equal(made.status, 200, made.text)
  return { server, id: made.json.identity.id as string }
}

type Running = Awaited<ReturnType<typeof startServer>>

async function attach({ server, id }: Running, more: object): Promise<void> {
  const source = { configurationType: 'jwks', jwksUrl: 'ring:ci', boundClaims: {} }
  const { status, text } = await server.call('POST', `${PATH}/${id}`, { ...source, ...more })
  assert.equal(status, 200, text)
}

async function login({ server, id }: Running): Promise<string> {
  const claims = { sub: 'job-1', aud: 'keyringd' }
  const { json: jwt } = await server.call('POST', '/v1/rings/ci/sign', { claims, ttl: '5m' })
  const body = { identityId: id, jwt: jwt.token }
  const { status, json, text } = await server.call('POST', '/api/v1/auth/jwt-auth/login', body)
  assert.equal(status, 200, text)
  return json.accessToken
}

const details = ({ server }: Running, token: string) =>
  request(`${server.url}/api/v1/identities/details`, {
    headers: { authorization: `Bearer ${token}` },
  })

test('the Node SDK takes an access token, renews it, and says why when it cannot', async (t) => {
  const running = await startServer(t)
  const { server } = running
  await attach(running, { boundSubject: 'job-*', accessTokenTTL: 600, accessTokenMaxTTL: 3600 })
  const token = await login(running)

  const sdk = new InfisicalSDK({ siteUrl: server.url })
  assert.equal(sdk.auth().accessToken(token), sdk)
  assert.equal(sdk.auth().getAccessToken(), token)
  assert.equal(await sdk.auth().universalAuth.renew(), sdk)
  const renewed = sdk.auth().getAccessToken() ?? ''
  assert.notEqual(renewed, token)
  const [before, after] = [decodeJwt(token), decodeJwt(renewed)]
  for (const claim of ['jti', 'identityId', 'creationEpoch', 'authTokenType', 'accessTokenTTL']) {
    assert.deepEqual(after[claim], before[claim], claim)
  }
  assert.equal(Number(after.exp) - Number(after.iat), 600)
  for (const each of [token, renewed]) assert.equal((await details(running, each)).status, 200)

  // It sends the bearer that it has, good or not, on every call.
  const slashed = new InfisicalSDK({ siteUrl: `${server.url}/` })
  await slashed.auth().accessToken(renewed).auth().universalAuth.renew()
  slashed.auth().accessToken('not-a-token')
  await assert.rejects(slashed.auth().universalAuth.renew(), {
    message: /\[Method=POST\] \[StatusCode=403\] The provided access token is malformed\./,
  })

  const body = { accessToken: token }
  const { status, text } = await server.call('POST', '/api/v1/auth/token/revoke', body)
  assert.equal(status, 200, text)
  await assert.rejects(sdk.auth().universalAuth.renew(), {
    message: /\[StatusCode=401\] Cannot renew: token has been revoked$/,
  })
  assert.equal((await details(running, renewed)).status, 401)
  const credentials = { clientId: 'a', clientSecret: 'b' }
  await assert.rejects(sdk.auth().universalAuth.login(credentials), { message: /StatusCode=404/ })
})

/** The update as the API reference prints it; its `<string>` is the one value to fill in. */
const PRINTED = {
  configurationType: 'jwks',
  jwksUrl: 'ring:ci',
  jwksCaCert: '',
  publicKeys: [],
  boundIssuer: '',
  boundAudiences: '',
  boundClaims: {},
  boundSubject: '',
  accessTokenTrustedIps: [{ ipAddress: '0.0.0.0/0' }, { ipAddress: '::/0' }],
  accessTokenTTL: 2592000,
  accessTokenMaxTTL: 2592000,
  accessTokenNumUsesLimit: 0,
}

/** The members of the printed answer, with what the reference says of their types. */
const TYPES: Record<string, string> = {
  ...{ id: 'uuid', identityId: 'uuid', configurationType: 'string', jwksUrl: 'string' },
  ...{ boundIssuer: 'string', boundAudiences: 'string', boundSubject: 'string' },
  ...{ createdAt: 'time', updatedAt: 'time', jwksCaCert: 'string', publicKeys: 'strings' },
  ...{ accessTokenTTL: 'number', accessTokenMaxTTL: 'number', accessTokenNumUsesLimit: 'number' },
  ...{ accessTokenTrustedIps: 'array', boundClaims: 'object', accessTokenPeriod: 'number' },
}

function typeOf(value: unknown): string[] {
  if (Array.isArray(value)) {
    return value.every((one) => typeof one === 'string') ? ['array', 'strings'] : ['array']
  }
  if (typeof value !== 'string') return [typeof value]
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value)) return ['string', 'uuid']
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value) ? ['string', 'time'] : ['string']
}

test('the update of the API reference is answered with its members, each of its type', async (t) => {
  const running = await startServer(t)
  const { server, id } = running
  await attach(running, { boundSubject: 'job-*', boundIssuer: 'x', accessTokenTTL: 60 })
  const { status, json, text } = await server.call('PATCH', `${PATH}/${id}`, PRINTED)
  assert.equal(status, 200, text)
  assert.deepEqual(Object.keys(json), ['identityJwtAuth'])
  const { identityJwtAuth: config } = json
  assert.deepEqual(Object.keys(config).sort(), Object.keys(TYPES).sort())
  for (const [member, type] of Object.entries(TYPES)) {
    assert.ok(typeOf(config[member]).includes(type), `${member} is ${config[member]}, no ${type}`)
  }
  const { accessTokenTrustedIps, ...sent } = PRINTED
  for (const [member, value] of Object.entries(sent)) assert.deepEqual(config[member], value)
  assert.equal(accessTokenTrustedIps.length, config.accessTokenTrustedIps.length)
  assert.equal(config.identityId, id)
  assert.equal(config.accessTokenPeriod, 0)
})

test('the Terraform provider creates, reads, updates and deletes', async (t) => {
  const running = await startServer(t)
  const { server, id } = running
  const url = `${PATH}/${id}`
  // Numbers that are 0 and addresses that are none it leaves out; lists it joins with bare commas.
  const resource = {
    ...{ identityId: id, configurationType: 'jwks', jwksUrl: 'ring:ci', jwksCaCert: '' },
    ...{ publicKeys: [], boundIssuer: 'https://ci.example.net', boundAudiences: 'keyringd,api' },
    ...{ boundClaims: { env: 'prod,test' }, boundSubject: 'job-*' },
  }
  const created = await server.call('POST', url, { ...resource, accessTokenTTL: 900 })
  assert.equal(created.status, 200, created.text)
  const read = await server.call('GET', url)
  assert.deepEqual(read.json, created.json)
  const { identityJwtAuth: config } = read.json
  assert.equal(config.boundAudiences, 'keyringd, api')
  assert.deepEqual(config.boundClaims, { env: 'prod, test' })
  assert.deepEqual([config.accessTokenTTL, config.accessTokenMaxTTL], [900, 2592000])

  const changed = { ...resource, boundAudiences: '', boundClaims: {} }
  const trusted = [{ ipAddress: '127.0.0.1' }]
  const more = { accessTokenTrustedIps: trusted, accessTokenNumUsesLimit: 3 }
  const updated = await server.call('PATCH', url, { ...changed, ...more })
  assert.equal(updated.status, 200, updated.text)
  const { identityJwtAuth: after } = updated.json
  assert.deepEqual([after.boundAudiences, after.boundClaims, after.accessTokenTTL], ['', {}, 900])
  assert.deepEqual(after.accessTokenTrustedIps, [{ ipAddress: '127.0.0.1', type: 'ipv4' }])

  const deleted = await server.call('DELETE', url, { identityId: id })
  assert.equal(deleted.status, 200, deleted.text)
  const { jwksCaCert: _, publicKeys: __, ...rest } = after
  assert.deepEqual(deleted.json, { identityJwtAuth: rest })
  // Nothing attached is an error to it; only an identity that is gone means that the resource is.
  assert.equal((await server.call('GET', url)).status, 400)
  assert.equal((await server.call('DELETE', `/api/v1/identities/${id}`)).status, 200)
  assert.equal((await server.call('GET', url)).status, 404)
})
