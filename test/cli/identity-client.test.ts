import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
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

test('a host that cannot be looked up is named, with the flag that has it, and nothing else of the URL', async (t) => {
  const message = 'Could not resolve hostname to any IP address'
  const refusing = createServer((request, response) => {
    if (request.method === 'GET') {
      response.end('{"identity":{"identity":{"authMethods":[]}}}')
      return
    }
    response.statusCode = 400
    response.end(JSON.stringify({ statusCode: 400, error: 'BadRequest', message }))
  })
  await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve))
  t.after(() => refusing.close())
  const env = clientEnv(`http://127.0.0.1:${(refusing.address() as AddressInfo).port}`)
  const set = (...flags: string[]) => run(['identity', 'jwt-auth', 'set', 'x', ...flags], { env })
  const url = 'https://me:secret@id.example.net:8443/keys'
  const error = `error: ${message} (400 BadRequest)\n`
  const { err } = await set('-jwks-url', url)
  assert.equal(err, `${error}That is id.example.net, the host of -jwks-url\n`)
  const inFile = fileIn(folder(t), 'config.json', JSON.stringify({ jwksUrl: url }))
  const ofFile = await set('-file', inFile)
  assert.equal(ofFile.err, `${error}That is id.example.net, the host of jwksUrl\n`)
})
