import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { systemClock } from '../../src/context.ts'
import { MANAGEMENT_TOKEN, type TestClock } from '../server.ts'
import { ACCESS_TOKEN, API, BEARER, EXCHANGE, type OAuthWorld, oauthWorld } from './setup.ts'

// Real clients against a listening server, by the real clock: theirs cannot be moved.

const realClock: TestClock = { ...systemClock, advance() {}, jump() {} }

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise((resolve) => {
    server.close(resolve)
  })
  return typeof address === 'object' && address ? address.port : 0
}

interface Listening extends OAuthWorld {
  issuer: URL
  /** An identity whose configuration has this key. */
  identityWith(key: CryptoKey): Promise<string>
}

async function listeningWorld(t: TestContext): Promise<Listening> {
  const port = await freePort()
  const base = `http://127.0.0.1:${port}`
  const world = await oauthWorld(t, { clock: realClock, settings: { OIDC_ISSUER: base } })
  await world.app.listen({ host: '127.0.0.1', port })
  return Object.assign(world, {
    issuer: new URL(`${base}/rings/access`),
    async identityWith(key: CryptoKey) {
      const id = await world.identity('member')
      const spki = Buffer.from(await crypto.subtle.exportKey('spki', key)).toString('base64')
      const pem = `-----BEGIN PUBLIC KEY-----\n${spki}\n-----END PUBLIC KEY-----\n`
      const config = { configurationType: 'static', publicKeys: [pem], boundClaims: {} }
      const attached = await world.attach(id, { ...config, boundSubject: id })
      assert.equal(attached.status, 200, attached.text)
      return id
    },
  })
}

for (const name of ['ES256', 'Ed25519', 'PS256']) {
  test(`openid-client discovers, authenticates by private_key_jwt (${name}), exchanges and revokes`, async (t) => {
    const world = await listeningWorld(t)
    const pair = await oauth.generateKeyPair(name, { extractable: true })
    const id = await world.identityWith(pair.publicKey)
    const config = await openid.discovery(
      ...([world.issuer, id, undefined, openid.PrivateKeyJwt(pair.privateKey)] as const),
      { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] },
    )
    assert.equal(config.serverMetadata().issuer, world.issuer.href)

    const granted = await openid.clientCredentialsGrant(config)
    assert.equal(granted.token_type, 'bearer')
    assert.equal(granted.expires_in, 2592000)

    const exchanged = await openid.genericGrantRequest(config, EXCHANGE, {
      ...{ subject_token: granted.access_token, subject_token_type: ACCESS_TOKEN, audience: API },
    })
    assert.equal(exchanged['issued_token_type'], ACCESS_TOKEN)

    config[openid.customFetch] = (url, options) => {
      const authorization = { authorization: `Bearer ${MANAGEMENT_TOKEN}` }
      const isIntrospection = url.endsWith('/introspect')
      const headers = { ...options.headers, ...(isIntrospection && authorization) }
      return fetch(url, { ...options, headers } as RequestInit)
    }
    const look = (token: string) => openid.tokenIntrospection(config, token)
    const { active, aud, client_id } = await look(exchanged.access_token)
    assert.deepEqual([active, aud, client_id], [true, API, id])
    await openid.tokenRevocation(config, granted.access_token)
    assert.deepEqual(await look(exchanged.access_token), { active: false })
    await assert.rejects(
      openid.genericGrantRequest(config, EXCHANGE, {
        ...{ subject_token: granted.access_token, subject_token_type: ACCESS_TOKEN },
      }),
      { error: 'invalid_request', status: 400 },
    )
    await assert.rejects(openid.clientCredentialsGrant(config, { scope: 'read' }), {
      error: 'invalid_scope',
    })
  })
}

test('oauth4webapi asks for every endpoint, and reads the errors', async (t) => {
  const world = await listeningWorld(t)
  const pair = await oauth.generateKeyPair('ES256', { extractable: true })
  const client: oauth.Client = { client_id: await world.identityWith(pair.publicKey) }
  const insecure = { [oauth.allowInsecureRequests]: true }
  const found = await oauth.discoveryRequest(world.issuer, { ...insecure, algorithm: 'oauth2' })
  const server = await oauth.processDiscoveryResponse(world.issuer, found)

  const asked = await oauth.clientCredentialsGrantRequest(
    ...([server, client, oauth.PrivateKeyJwt(pair.privateKey), {}] as const),
    insecure,
  )
  const { access_token } = await oauth.processClientCredentialsResponse(server, client, asked)

  const resource = await oauth.protectedResourceRequest(
    ...([
      access_token,
      'GET',
      new URL(`/api/v1/identities/${client.client_id}`, world.issuer),
    ] as const),
    ...([undefined, null, insecure] as const),
  )
  assert.equal(resource.status, 200)
  const valid = await oauth.validateJwtAccessToken(
    server,
    new Request('https://api.example/', { headers: { authorization: `Bearer ${access_token}` } }),
    ...([world.issuer.href, insecure] as const),
  )
  assert.deepEqual([valid.sub, valid.client_id], [client.client_id, client.client_id])

  // RFC 7662 section 2.1: the caller is known by a token, which clients call an authentication of their own.
  const byToken: oauth.ClientAuth = (_server, _client, _body, headers) =>
    headers.set('authorization', `Bearer ${MANAGEMENT_TOKEN}`)
  const looked = await oauth.introspectionRequest(server, client, byToken, access_token, insecure)
  const about = await oauth.processIntrospectionResponse(server, client, looked)
  assert.deepEqual([about.active, about.sub], [true, client.client_id])

  const revoked = await oauth.revocationRequest(
    server,
    client,
    oauth.None(),
    access_token,
    insecure,
  )
  assert.equal(await oauth.processRevocationResponse(revoked), undefined)

  const refused = await oauth.genericTokenEndpointRequest(
    ...([server, client, oauth.None(), BEARER, { assertion: 'junk' }, insecure] as const),
  )
  await assert.rejects(oauth.processGenericTokenEndpointResponse(server, client, refused), {
    ...{ error: 'invalid_grant', status: 400 },
  })
  const stranger = await oauth.generateKeyPair('ES256', { extractable: true })
  const forged = await oauth.clientCredentialsGrantRequest(
    ...([server, client, oauth.PrivateKeyJwt(stranger.privateKey), {}] as const),
    insecure,
  )
  await assert.rejects(oauth.processClientCredentialsResponse(server, client, forged), {
    error: 'invalid_client',
  })
})
