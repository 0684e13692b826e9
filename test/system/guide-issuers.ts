import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { SignJWT } from 'jose'
import { listenOn } from '../loopback.ts'

// Issuers on loopback whose tokens have the claims of the real ones.

export type Claims = Record<string, unknown>

export interface Issuer {
  url: string
  sign(claims: Claims): Promise<string>
}

interface IssuerOptions {
  /** Below the origin; part of the issuer's URL. */
  base?: string
  jwksPath: string
  tls?: { cert: Buffer; key: Buffer }
  /** Further members of the set. */
  more?: object[]
  /** What it answers elsewhere; undefined: 404. */
  answer?(request: IncomingMessage, issuer: Issuer): Promise<object | undefined>
}

/** An issuer that signs with RS256, as all of these do. */
export async function startIssuer(t: TestContext, options: IssuerOptions): Promise<Issuer> {
  const { base = '', jwksPath, tls, more = [], answer } = options
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const kid = '78167F727DEC5D801DD1C8784C704A1C880EC0E1'
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' }
  const listener = async (request: IncomingMessage): Promise<object | undefined> => {
    if (request.url === `${base}${jwksPath}`) return { keys: [...more, jwk] }
    return answer?.(request, issuer)
  }
  const server = tls ? createTlsServer(tls) : createServer()
  server.on('request', (request, response) => {
    listener(request).then(
      (body) => {
        response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' })
        response.end(JSON.stringify(body ?? { error: 'not found' }))
      },
      (error: unknown) => response.destroy(error as Error),
    )
  })
  const port = await listenOn(t, server)
  const url = `${tls ? 'https' : 'http'}://127.0.0.1:${port}${base}`
  const issuer: Issuer = {
    url,
    sign(claims) {
      const now = Math.floor(Date.now() / 1000)
      return new SignJWT({ iss: url, iat: now, exp: now + 300, ...claims })
        .setProtectedHeader({ typ: 'JWT', alg: 'RS256', kid })
        .sign(privateKey)
    },
  }
  return issuer
}

/** The claims of a job that a push to a branch started. */
export function githubClaims(audience: string, branch = 'main'): Claims {
  const ref = `refs/heads/${branch}`
  return {
    ...{ jti: '5f3ef1b7-1a3f-4c1b-9f0a-0c2f6b1d6e52', aud: audience },
    ...{
      sub: `repo:octo-org/octo-repo:ref:${ref}`,
      ref,
      ref_type: 'branch',
      ref_protected: 'true',
    },
    ...{ sha: '0a3d4f0c5c1f3b0d9a7e8f6b5c4d3e2f1a0b9c8d', repository: 'octo-org/octo-repo' },
    ...{ repository_owner: 'octo-org', repository_owner_id: '65', repository_id: '74' },
    ...{ repository_visibility: 'private', run_id: '1530398725', run_number: '10' },
    ...{ run_attempt: '2', actor: 'octocat', actor_id: '12', workflow: 'deploy' },
    ...{ workflow_ref: `octo-org/octo-repo/.github/workflows/deploy.yml@${ref}` },
    ...{ job_workflow_ref: `octo-org/octo-repo/.github/workflows/deploy.yml@${ref}` },
    ...{ head_ref: '', base_ref: '', event_name: 'push', runner_environment: 'github-hosted' },
    nbf: Math.floor(Date.now() / 1000) - 300,
  }
}

/** The claims of a projected token of a service account. */
export function kubernetesClaims(audience: string, account = 'reports'): Claims {
  const now = Math.floor(Date.now() / 1000)
  return {
    ...{ aud: [audience], jti: '0c1b7f1e-9d3a-4a53-8f0e-2f6d5c4b3a21', nbf: now },
    'kubernetes.io': {
      namespace: 'reporting',
      node: { name: 'worker-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
      pod: { name: 'reports', uid: '5e0bd49b-f040-43b0-99b7-22765a53f7f3' },
      serviceaccount: { name: account, uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798' },
    },
    sub: `system:serviceaccount:reporting:${account}`,
  }
}

/** The claims of an access token of the client credentials grant. */
const keycloakClaims = (client: string, clientHost: string): Claims => ({
  ...{ jti: 'trrtcc:1c0d9d5b-8a3c-4e0e-a0c5-2f1f6c0c1d11', aud: ['keyringd', 'account'] },
  ...{ sub: '7a1f0f6e-0b8a-4c39-8f56-2f3c1d0e9b8a', typ: 'Bearer', azp: client, acr: '1' },
  realm_access: { roles: ['default-roles-ci', 'offline_access', 'uma_authorization'] },
  resource_access: { account: { roles: ['manage-account', 'view-profile'] } },
  ...{ scope: 'profile email', clientHost, clientAddress: clientHost, client_id: client },
  ...{ email_verified: false, preferred_username: `service-account-${client}` },
})

/** A realm of Keycloak with one client, and the certificate of the CA that vouches for it as `corp-ca.pem`. */
export async function startKeycloak(t: TestContext, folder: string, secret: string) {
  const tls = makeCertificate(folder)
  const encryption = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey
  const other = { ...encryption.export({ format: 'jwk' }), kid: 'enc', alg: 'RSA-OAEP', use: 'enc' }
  return startIssuer(t, {
    ...{ base: '/realms/ci', jwksPath: '/protocol/openid-connect/certs', tls, more: [other] },
    async answer(request, issuer) {
      if (request.url !== '/realms/ci/protocol/openid-connect/token') return undefined
      const form = new URLSearchParams(await text(request))
      if (form.get('client_secret') !== secret) return undefined
      const client = form.get('client_id') ?? ''
      const token = await issuer.sign(keycloakClaims(client, '127.0.0.1'))
      return { access_token: token, expires_in: 300, token_type: 'Bearer', scope: 'profile email' }
    },
  })
}

function makeCertificate(folder: string): { cert: Buffer; key: Buffer } {
  const file = (name: string) => join(folder, name)
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  openssl(
    ...['req', '-x509', ...curve, '-subj', '/CN=Corp CA', '-days', '2'],
    ...['-keyout', file('ca.key'), '-out', file('corp-ca.pem')],
  )
  writeFileSync(file('names'), 'subjectAltName=IP:127.0.0.1\n')
  openssl('req', ...curve, '-subj', '/CN=sso', '-keyout', file('sso.key'), '-out', file('sso.csr'))
  openssl(
    ...['x509', '-req', '-in', file('sso.csr'), '-CA', file('corp-ca.pem')],
    ...['-CAkey', file('ca.key'), '-extfile', file('names'), '-days', '2', '-out', file('sso.pem')],
  )
  return { cert: readFileSync(file('sso.pem')), key: readFileSync(file('sso.key')) }
}
