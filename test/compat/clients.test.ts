import assert from 'node:assert/strict'
import http from 'node:http'
import { type TestContext, test } from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import jsonwebtoken from 'jsonwebtoken'
import jwksRsa from 'jwks-rsa'
import * as openid from 'openid-client'
import { MANAGEMENT_TOKEN, START } from '../server.ts'
import { openStage, type Stage } from './stage.ts'

// Clients that others wrote, and one that follows the index as the stock client does, on a real port.

async function staged(t: TestContext, settings: Record<string, string>): Promise<Stage> {
  const stage = await openStage(t)
  await stage.start(settings, ['first'], true)
  return stage
}

const urlOf = (stage: Stage) => `http://127.0.0.1:${stage.port()}`

async function sign(stage: Stage): Promise<string> {
  const { token } = await ours(stage, '/v1/rings/default/sign', {
    claims: { sub: 'client', aud: 'rp' },
    ttl: '1h',
  })
  return String(token)
}

async function ours(stage: Stage, url: string, payload?: object): Promise<Record<string, unknown>> {
  const { app } = stage.server()
  const headers = { 'x-nomad-token': MANAGEMENT_TOKEN }
  const answer = await app.inject({ method: 'POST', url, headers, ...(payload && { payload }) })
  assert.equal(answer.statusCode, 200, answer.body)
  return answer.json()
}

const currentDate = new Date(Number(START / 1_000_000n))

for (const mode of ['nomad', 'safe']) {
  test(`jose, jsonwebtoken with jwks-rsa and openid-client verify a token in ${mode} mode`, async (t) => {
    const issuer = 'https://id.example.net'
    const stage = await staged(t, { ROTATION_MODE: mode, OIDC_ISSUER: issuer })
    await ours(stage, '/v1/operator/keyring/rotate')
    const token = await sign(stage)
    const jwksUri = `${urlOf(stage)}/.well-known/jwks.json`

    const keys = createRemoteJWKSet(new URL(jwksUri))
    const { payload } = await jwtVerify(token, keys, { issuer, audience: 'rp', currentDate })
    assert.equal(payload.sub, 'client')

    const client = jwksRsa({ jwksUri })
    const kid = jsonwebtoken.decode(token, { complete: true })?.header.kid
    const key = (await client.getSigningKey(kid)).getPublicKey()
    const clockTimestamp = currentDate.getTime() / 1000
    const options = { issuer, audience: 'rp', clockTimestamp, algorithms: ['RS256' as const] }
    assert.equal((jsonwebtoken.verify(token, key, options) as { sub: string }).sub, 'client')

    // The issuer's own address is not ours here: what it would serve, we do.
    const toUs: openid.CustomFetch = (url, { body: _, ...init }) =>
      fetch(url.replace(issuer, urlOf(stage)), init as RequestInit)
    const found = await openid.discovery(new URL(issuer), 'rp', undefined, undefined, {
      [openid.customFetch]: toUs,
    })
    assert.equal(found.serverMetadata().jwks_uri, `${issuer}/.well-known/jwks.json`)
  })
}

interface Listed {
  index: string
  keys: { KeyID: string; State: string }[]
}

/** One read of a client that always asks for gzip and keeps its connection. */
function list(stage: Stage, agent: http.Agent, index: string): Promise<Listed> {
  const url = `${urlOf(stage)}/v1/operator/keyring/keys?index=${index}&wait=300000ms&stale=`
  const headers = { 'X-Nomad-Token': MANAGEMENT_TOKEN }
  return new Promise((resolve, reject) => {
    http
      .get(url, { agent, headers }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () =>
          resolve({ index: String(response.headers['x-nomad-index']), keys: JSON.parse(text) }),
        )
      })
      .on('error', reject)
  })
}

test('a client that follows the index sees every rotation, over one connection', async (t) => {
  const stage = await staged(t, { ROTATION_MODE: 'nomad' })
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  let connections = 0
  stage.server().app.server.on('connection', () => {
    connections++
  })
  let seen = await list(stage, agent, '0')
  for (let rotation = 1; rotation <= 5; rotation++) {
    const next = list(stage, agent, seen.index)
    while (stage.server().keyring.blocking.held() === 0) await new Promise(setImmediate)
    const { Key } = (await ours(stage, '/v1/operator/keyring/rotate')) as {
      Key: { KeyID: string }
    }
    const after = await next
    assert.ok(BigInt(after.index) > BigInt(seen.index))
    const active = after.keys.filter(({ State }) => State === 'active')
    assert.deepEqual(
      active.map(({ KeyID }) => KeyID),
      [Key.KeyID],
    )
    seen = after
  }
  assert.equal(connections, 1)
})
