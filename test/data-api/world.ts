import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { TestContext } from 'node:test'
import { SignJWT } from 'jose'
import { endpoint } from '../remote-jwks/endpoint.ts'
import { START, type TestServerOptions, testServer } from '../server.ts'

// The data API in a test: the whole application, an issuer on loopback, a user with a password and one with JWTs.

export const SETUP = '/api/v2/jwks_setup'
export const NOW = Number(START / 1_000_000_000n)
export const PASSWORD = 'YourPassword'
export const basic = (credential: string) => ({
  authorization: `Basic ${Buffer.from(credential).toString('base64')}`,
})
export const AS_ROOT = basic(`root:${PASSWORD}`)

export interface Signer {
  kid: string
  privateKey: KeyObject
  /** Its entry in a set. */
  jwk: Record<string, unknown>
  sign(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>
}

const PAIRS = {
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
}

/** A key pair of an issuer; `alg` is what it signs with. */
export function aSigner(kid: string, alg: keyof typeof PAIRS = 'ES256'): Signer {
  const { privateKey, publicKey } = PAIRS[alg]()
  return {
    ...{ kid, privateKey },
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig' },
    sign: (claims = {}, header = {}) =>
      new SignJWT({ sub: 'ann', exp: NOW + 3600, ...claims })
        .setProtectedHeader({ alg, kid, ...header })
        .sign(privateKey),
  }
}

export const setOf = (...signers: Signer[]) =>
  JSON.stringify({ keys: signers.map(({ jwk }) => jwk) })

export type World = Awaited<ReturnType<typeof dataApiWorld>>

export async function dataApiWorld(t: TestContext, options: TestServerOptions = {}) {
  const issuer = await endpoint(t)
  const server = await testServer(t, {
    ...options,
    settings: {
      ...{ ROOT_KEY_ALGORITHM: 'ES256', ALLOW_INTERNAL_HOSTS: '127.0.0.1' },
      ...options.settings,
    },
  })
  const must = async (method: string, url: string, body?: unknown) => {
    const { status, json } = await server.call(method, url, body)
    assert.ok(status < 300, `${method} ${url}: ${status} ${JSON.stringify(json)}`)
    return json
  }
  const known = await server.store.read.users.byName('root')
  if (!known) {
    const root = { name: 'root', password: PASSWORD, role: 'security-admin' }
    await must('POST', '/v1/users', root)
    await must('POST', '/v1/users', { name: 'ann', role: 'security-admin', jwt: true })
    await must('POST', '/v1/users', { name: 'bob', role: 'no-access', jwt: true })
    await must('POST', '/v1/users', { name: 'cat', role: 'admin' })
  }

  async function ask(
    headers: Record<string, string> = {},
    { method = 'POST', url = SETUP, body }: { method?: string; url?: string; body?: string } = {},
  ) {
    const answer = await server.app.inject({
      ...{ method: method as 'POST', url, headers },
      ...(body !== undefined && { payload: body }),
    })
    return { status: answer.statusCode, text: answer.body, headers: answer.headers }
  }

  return Object.assign(server, {
    ...{ issuer, ask, must },
    set: (name: string, value: unknown) => must('PUT', `/v1/settings/${name}`, { value }),
    /** Has the issuer serve these keys from now on. */
    serve: (...signers: Signer[]) =>
      issuer.answer((_, response) => response.end(setOf(...signers))),
    /** The status and text of a request with this token. */
    async bearer(token: string) {
      const { status, text } = await ask({ authorization: `Bearer ${token}` })
      return [status, text] as const
    },
    verify: (token: string) =>
      must('POST', '/v1/verify', { token, with: { dataApi: true } }) as Promise<{
        valid: boolean
        checks: { name: string; ok: boolean; reason?: string }[]
      }>,
  })
}

/** With the issuer's address in the settings, and these keys served and active. */
export async function setUp(t: TestContext, signers: Signer[], options: TestServerOptions = {}) {
  const world = await dataApiWorld(t, options)
  world.serve(...signers)
  await world.set('jwks_endpoint', world.issuer.url)
  assert.equal((await world.ask(AS_ROOT)).status, 200)
  return world
}
