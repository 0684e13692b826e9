import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { TestContext } from 'node:test'
import { createRoleGrants } from '../../src/access/role-grants.ts'
import { parseConfig } from '../../src/config.ts'
import { anonymous, type Context, type Principal } from '../../src/context.ts'
import { manageFormat } from '../../src/external-security/errors.ts'
import { manageRoutes } from '../../src/external-security/routes.ts'
import { createExternalSecurity } from '../../src/external-security/service.ts'
import { installAuth } from '../../src/http/auth.ts'
import { createLogger } from '../../src/http/log.ts'
import { createServer } from '../../src/http/server.ts'
import { createAeadProvider } from '../../src/kek/aead.ts'
import { createKeyring } from '../../src/keyring/keyring.ts'
import { createRemoteJwks } from '../../src/remote-jwks/service.ts'
import { open } from '../remote-jwks/endpoint.ts'
import { countingIds, memoryStore, testClock } from '../server.ts'

// The surface over a real store and a real keyring; who calls is what the header `Basic NAME:NAME` says.

export const CONFIGURATIONS = '/manage/v2/external-security'

export interface Answer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
  json: any
  text: string
  headers: Record<string, unknown>
}

export interface Asked {
  body?: unknown
  raw?: string | Buffer
  type?: string | null
  as?: string | null
  headers?: Record<string, string>
}

export type World = Awaited<ReturnType<typeof manageWorld>>

export interface WorldOptions {
  file?: string
  /** Names that the setting has. */
  on?: string[]
}

const CALLERS: Record<string, string[]> = {
  admin: ['external-security', 'keyring-rotate', 'access-manage'],
  guard: ['external-security'],
  nobody: [],
}

const callerOf = (name: string, rights: string[]): Principal => ({
  ...{ id: `user:${name}`, tenant: undefined },
  may: (capability) => name === 'admin' || rights.includes(capability),
  maySome: (capability) => name === 'admin' || rights.includes(capability),
})

export async function manageWorld(t: TestContext, options: WorldOptions = {}) {
  const clock = testClock()
  const newId = countingIds()
  const store = await memoryStore(clock, newId, options.file)
  const written: string[] = []
  const log = createLogger({
    level: 'trace',
    destination: { write: (line: string) => void written.push(line) },
  })
  const context: Context = { store, log, newId, ...clock }
  const on = new Set(options.on)
  const keyring = createKeyring({
    ...{ context, installation: newId(), rootKeyAlgorithm: 'ES256', issuer: () => undefined },
    settings: parseConfig({ HOME: '/nonexistent' }),
    ...{ joinIssuer: (base, path) => `${base}${path}`, limits: { max: 1, perAddress: 1 } },
    ...{ alsoAtBootstrap: async () => {}, endedBy: async () => undefined },
    ...{
      onSigned: () => {},
      onVerified: () => {},
      onPromiseWrite: () => {},
      onForgotten: () => {},
    },
  })
  const stopping = new AbortController()
  t.after(async () => {
    stopping.abort()
    await app.close()
    service.close()
    roleGrants.close()
    await keyring.close()
    await store.close()
  })
  await keyring.open([createAeadProvider(new Uint8Array(32))], stopping.signal)
  await keyring.reseal.settled()
  const { isOurs } = keyring.own
  const remote = createRemoteJwks(context, open(), { isOurs })
  const roleGrants = createRoleGrants(context)
  const service = createExternalSecurity({
    ...{ context, remote, isOurs, seals: keyring.own, switchedOn: () => [...on] },
    rights: { ...roleGrants, endGrants: roleGrants.endAll },
  })

  const app = createServer({
    ...{ log, newId },
    formatFor: (path) => (path.startsWith('/manage') ? manageFormat : undefined),
  })
  installAuth(app, {
    known: new Set(['external-security']),
    async authenticate({ headers }) {
      const [, encoded] = /^Basic (.+)$/.exec(headers.authorization ?? '') ?? []
      const [name = '', password] = Buffer.from(encoded ?? '', 'base64')
        .toString()
        .split(':')
      const held = password === name ? CALLERS[name] : undefined
      const principal = held ? callerOf(name, held) : anonymous
      return { principal, presented: encoded !== undefined }
    },
  })
  let nonces = 0
  await app.register(
    manageRoutes({
      ...{ context, externalSecurity: service },
      challenges: () => [
        `Digest realm="public", qop="auth", nonce="n${++nonces}", opaque="0011223344556677"`,
        'Basic realm="public"',
      ],
    }),
  )
  await app.ready()

  async function ask(method: string, path: string, asked: Asked = {}): Promise<Answer> {
    const { body, raw, as = 'admin', headers } = asked
    const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body))
    const type = asked.type === undefined && body !== undefined ? 'application/json' : asked.type
    const answer = await app.inject({
      ...{
        method: method as 'GET',
        url: path.startsWith('/') ? path : `${CONFIGURATIONS}/${path}`,
      },
      headers: {
        ...(as !== null && { authorization: basic(as) }),
        ...(type && { 'content-type': type }),
        ...headers,
      },
      ...(payload !== undefined && { payload }),
    })
    const isJson = /json/.test(String(answer.headers['content-type'])) && answer.body !== ''
    return {
      ...{ status: answer.statusCode, text: answer.body },
      json: isJson ? JSON.parse(answer.body) : undefined,
      headers: answer.headers as Record<string, unknown>,
    }
  }

  return {
    ...{ app, ask, clock, context, keyring, service, store, on },
    log: () => written.join(''),
    /** A configuration; its name. */
    async make(name: string, more: object = {}, server: object = {}): Promise<string> {
      const made = await ask('POST', CONFIGURATIONS, { body: configuration(name, more, server) })
      assert.equal(made.status, 201, made.text)
      return name
    },
    async events(type = /^(?:external-security|jwt-secret)\./) {
      const rows = await store.read.audit.list(0n, 10_000)
      return rows
        .filter((row) => type.test(row.type))
        .map((row) => ({ ...row, detail: JSON.parse(row.detail) as unknown }))
    },
  }
}

export const basic = (name: string): string =>
  `Basic ${Buffer.from(`${name}:${name}`).toString('base64')}`

/** As section 4 has it, with HS256 and no keys. */
export const configuration = (name: string, more: object = {}, server: object = {}) => ({
  ...{ 'external-security-name': name, description: 'tokens from our IdP' },
  ...{ authentication: 'oauth', 'cache-timeout': 300, authorization: 'oauth' },
  'oauth-server': {
    ...{ 'oauth-vendor': 'Other', 'oauth-flow-type': 'Resource server' },
    ...{ 'oauth-client-id': 'gateway', 'oauth-jwt-issuer-uri': 'https://idp.test/' },
    ...{ 'oauth-token-type': 'JSON Web Tokens' },
    ...{ 'oauth-username-attribute': 'preferred_username', 'oauth-role-attribute': 'groups' },
    ...{ 'oauth-privilege-attribute': '', 'oauth-jwt-alg': 'HS256', 'oauth-jwks-uri': '' },
    ...server,
  },
  ...more,
})

/** A payload of section 5: key id → value. */
export const secretsOf = (values: Record<string, string | undefined>, more: object = {}) => ({
  'oauth-server': {
    'oauth-jwt-secret': Object.entries(values).map(([keyId, value]) => ({
      'oauth-jwt-key-id': keyId,
      ...(value !== undefined && { 'oauth-jwt-secret-value': value }),
    })),
  },
  ...more,
})

export const SHARED = 'a-shared-secret-of-more-than-32-bytes'

const pairs = new Map<string, { publicKey: KeyObject; privateKey: KeyObject }>()

/** An RSA key pair, made once. */
export function rsaPair(name = 'a') {
  const pair = pairs.get(name) ?? generateKeyPairSync('rsa', { modulusLength: 2048 })
  pairs.set(name, pair)
  return pair
}

export const pemOf = (key: KeyObject, type: 'spki' | 'pkcs1' = 'spki'): string =>
  key.export({ format: 'pem', type }) as string

/** Of a key whose private half is gone. */
export const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIDCTCCAfGgAwIBAgIUIFyLEmNKERblNQ3JuH5nFns3VI4wDQYJKoZIhvcNAQEL
BQAwEzERMA8GA1UEAwwIaWRwLnRlc3QwIBcNMjYxMTI3MjE0OTE0WhgPMjEyNjEx
MDMyMTQ5MTRaMBMxETAPBgNVBAMMCGlkcC50ZXN0MIIBIjANBgkqhkiG9w0BAQEF
AAOCAQ8AMIIBCgKCAQEAuwRUiOkDge9CXiWzSatKZCXr7EF7ztzr2hqWfcXxq1zM
Zg+i16fdlAmh7+7sjuCFzu1n0CroDVxmQoOp6EJ+8EmFazZIghOHsHMs+SJzVbfA
Ogm+/wnlhPm+9PGOmKtGxxBOQdcM3dHoogyWUrnhF8cCVsKNXGFhS3ntPDoveTRj
w/hk4GSoqT0h5MXErgLf8Iub4gGGXY4nXv4uYGRsaePuXD31bqmsWE+tcd20qqCh
TBCplAqTvAK1dxopK7oFgVLuVYF7cWomNa0/wg288P99pea1LwhU/pSt0O6fBUAs
3pvPTOE8YxJ9Y2wmaattMo7XTS5ZrmQ2j1ecp8ukMwIDAQABo1MwUTAdBgNVHQ4E
FgQUB1rs0eRC7RgiqDoSP/G6j2rkNwkwHwYDVR0jBBgwFoAUB1rs0eRC7RgiqDoS
P/G6j2rkNwkwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOCAQEApF9o
8+fKNWxMPAGNWVfbJ2QXbnzwoPgNml3AD8mDEfghxNroVuEKF3LC6Y3d8yxu9MXO
CcmxBQAkbQIeHhPZ3k/G5OluV0a14ByHiDMMzvZomhhw14u5c91QDZbbiAscolBK
p234ZDwYvUPdKEV3TLHb09Le0cYz3pzDsPIu9lA53KE/b579PWkTDGFKS5cGwtBL
znbZNPNy8YeUDCCQyyzn1T08wrV595D2Fg9TbEFPRMwTwqjXXa2VgxNKadmeSar+
cerrKJsNZw1N3ZoKJSIrbWeLo9rNftS3SemJCgw/tsvw4xBCLoGYlDJ4dLLGLI4q
TNYbQ8uUZQPmGiDZ1g==
-----END CERTIFICATE-----
`
