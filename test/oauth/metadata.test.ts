import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'yaml'
import { joinIssuer } from '../../src/discovery/configuration.ts'
import { isMetadataPath, mountsOf, placesBelow } from '../../src/oauth/metadata.ts'
import { BASE, ENDPOINT, FORM, ISSUER, oauthWorld } from './setup.ts'

// RFC 8414.

const WELL_KNOWN = '/.well-known/oauth-authorization-server'

test('RFC 8414 2, 3.1: the metadata is at the host and with the path of the issuer appended', async (t) => {
  const world = await oauthWorld(t)
  for (const path of [WELL_KNOWN, `${WELL_KNOWN}/rings/access`]) {
    const { status, json, headers } = await world.ask('GET', path, { token: null })
    assert.equal(status, 200)
    assert.deepEqual(json, {
      ...{ issuer: ISSUER, token_endpoint: ENDPOINT },
      jwks_uri: `${ISSUER}/.well-known/jwks.json`,
      response_types_supported: [],
      grant_types_supported: [
        'client_credentials',
        'urn:ietf:params:oauth:grant-type:jwt-bearer',
        'urn:ietf:params:oauth:grant-type:token-exchange',
      ],
      token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
      token_endpoint_auth_signing_alg_values_supported: [
        ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
        ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
      ],
      revocation_endpoint: `${BASE}/oauth/revoke`,
      revocation_endpoint_auth_methods_supported: ['none'],
      introspection_endpoint: `${BASE}/oauth/introspect`,
      introspection_endpoint_auth_methods_supported: ['Bearer'],
    })
    assert.equal(headers['content-type'], 'application/json')
    assert.equal(headers['access-control-allow-origin'], '*')
    const etag = String(headers['etag'])
    const again = await world.ask('GET', path, { headers: { 'if-none-match': etag } })
    assert.deepEqual([again.status, again.text], [304, ''])
    assert.equal((await world.ask('HEAD', path)).status, 200)
    assert.equal((await world.ask('POST', path)).status, 404)
  }
  for (const path of [`${WELL_KNOWN}/`, `${WELL_KNOWN}/rings/default`, `${WELL_KNOWN}x`]) {
    assert.equal((await world.ask('GET', path)).status, 404, path)
  }
})

test('both paths of the metadata are in the description of the API, with the same answer', async (t) => {
  const { app } = await oauthWorld(t)
  const { paths } = parse((await app.inject('/openapi.yaml')).body)
  const answers = [WELL_KNOWN, `${WELL_KNOWN}/rings/access`].map(
    (path) => paths[path]?.get.responses['200'].content['application/json'].schema,
  )
  const answer = { $ref: '#/components/schemas/AuthorizationServerMetadata' }
  assert.deepEqual(answers, [answer, answer])
})

test('an issuer below a path has its endpoints there, too, for proxies that pass the path on', async (t) => {
  const world = await oauthWorld(t, { settings: { OIDC_ISSUER: 'https://h.example/team/' } })
  const path = `${WELL_KNOWN}/team/rings/access`
  const { json } = await world.ask('GET', path, { token: null })
  assert.equal(json.issuer, 'https://h.example/team/rings/access')
  assert.equal(json.token_endpoint, 'https://h.example/team/oauth/token')
  const client = await world.client()
  for (const [at, aud] of [
    ['/team/oauth/token', json.issuer],
    ['/oauth/token', json.token_endpoint],
  ]) {
    const body = `${new URLSearchParams(await client.credentials({ aud }))}`
    const headers = { 'content-type': FORM }
    const answer = await world.ask('POST', at, { token: null, body, headers })
    assert.equal(answer.status, 200, answer.text)
  }
  const jwks = new URL(json.jwks_uri).pathname
  assert.equal((await world.ask('GET', jwks, { token: null })).status, 200)
})

test('without an issuer there is no metadata; on the imitated wire no HEAD and no CORS', async (t) => {
  const none = await oauthWorld(t, { settings: { OIDC_ISSUER: '' } })
  const nomad = await oauthWorld(t, { settings: { ROTATION_MODE: 'nomad' } })
  for (const path of [WELL_KNOWN, `${WELL_KNOWN}/rings/access`]) {
    assert.equal((await none.ask('GET', path)).status, 404)
    const { status, headers } = await nomad.ask('GET', path)
    assert.deepEqual([status, headers['access-control-allow-origin']], [200, undefined])
    assert.equal((await nomad.ask('HEAD', path)).status, 404)
  }
})

test('the public listener shows the metadata and none of the endpoints', async (t) => {
  const { publicApp } = await oauthWorld(t, { settings: { PUBLIC_PORT: '4651' } })
  assert.ok(publicApp)
  const get = await publicApp.inject({ method: 'GET', url: WELL_KNOWN })
  assert.equal(get.json().issuer, ISSUER)
  assert.equal((await publicApp.inject({ method: 'POST', url: '/oauth/token' })).statusCode, 404)
})

test('where things are follows from the issuer of the host', () => {
  const places = placesBelow('https://h/a', joinIssuer)
  assert.equal(places.issuer, 'https://h/a/rings/access')
  assert.ok(isMetadataPath(`${WELL_KNOWN}/a/rings/access`, places))
  assert.ok(!isMetadataPath(`${WELL_KNOWN}/b/rings/access`, places))
  assert.deepEqual(mountsOf('https://h/a/b/'), ['', '/a/b'])
  for (const base of [undefined, 'https://h', 'https://h/', 'https://h/:a', 'https://h/*', 'no']) {
    assert.deepEqual(mountsOf(base), [''])
  }
})
