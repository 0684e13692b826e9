import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rootCertificates } from 'node:tls'
import { clientEnv, fileIn, folder, listeningServer, run } from './setup.ts'

test('another URL keeps the CA that was named for it, and a new one replaces it', async (t) => {
  const server = await listeningServer(t)
  const dir = folder(t)
  const [one = '', two = ''] = rootCertificates
  fileIn(dir, 'one.pem', one)
  fileIn(dir, 'two.pem', two)
  const cli = async (...argv: string[]) => {
    const { code, out, err } = await run(argv, { env: { HOME: dir, ...clientEnv(server.url) } })
    assert.equal(code, 0, err)
    return out
  }
  for (const ring of ['a', 'b']) await cli('ring', 'create', ring, '-algorithm', 'ES256')
  const id = (await cli('identity', 'create', 'ci')).trim()
  const set = async (...flags: string[]) => {
    const text = await cli('identity', 'jwt-auth', 'set', id, '-json', ...flags)
    return JSON.parse(text).identityJwtAuth
  }
  const attached = await set('-jwks-url', 'ring:a', '-jwks-ca-cert', `${dir}/one.pem`)
  assert.equal(attached.jwksCaCert, one.trim())
  assert.equal(attached.accessTokenTTL, 900)
  const moved = await set('-jwks-url', 'ring:b')
  assert.deepEqual([moved.jwksUrl, moved.jwksCaCert], ['ring:b', one.trim()])
  assert.equal((await set('-jwks-ca-cert', `${dir}/two.pem`)).jwksCaCert, two.trim())
  assert.equal((await set('-ttl', '5m')).jwksCaCert, two.trim())
})
