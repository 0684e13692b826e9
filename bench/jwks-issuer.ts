// An issuer of workloads' tokens: publishes an ES256 JWK Set on loopback, and tells its parent the address and a token.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import { SignJWT } from 'jose'

export interface IssuerFacts {
  jwksUrl: string
  token: string
}

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const kid = 'bench'
const set = JSON.stringify({
  keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }],
})

process.on('disconnect', () => process.exit(0))
const server = createServer((_, response) => response.end(set))
server.listen(0, '127.0.0.1', async () => {
  const address = server.address()
  if (address === null || typeof address !== 'object') return
  const token = await new SignJWT({ repository: 'owner/repo', login: 'job' })
    .setProtectedHeader({ alg: 'ES256', kid })
    .setIssuer('https://issuer.example')
    .setSubject('repo:owner/repo:ref:refs/heads/main')
    .setAudience('https://keyringd.example')
    .setExpirationTime('2h')
    .sign(privateKey)
  process.send?.({ jwksUrl: `http://127.0.0.1:${address.port}/jwks.json`, token })
})
