import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { test } from 'node:test'
import { compactDecrypt } from 'jose'
import { renewToken, verifyUri } from '../../src/uri-signing/uri-token.ts'
import { opened } from './key-documents.ts'

// RFC 9246 Appendix A (contract section 12). Every `exp` is in March 2022, so the clock is ours.

const KEY = {
  ...{ alg: 'ES256', kty: 'EC', kid: 'P5UpOv0eMq1wcxLf7WxIg09JdSYGYFDOWkldueaImf0', use: 'sig' },
  ...{ crv: 'P-256', x: 'be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8' },
  ...{ y: 'rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA' },
  ...{ d: 'yaowezrCLTU6yIwUL5RQw67cHgvZeMTLVZXjUGb1A1M' },
}
const SECRET = Buffer.from('4uFxxV7fhNmrtiah2d1fFg', 'base64url')
const documentOf = (issuer: string, id?: string) =>
  opened({ [issuer]: { renewal_kid: KEY.kid, keys: [KEY], ...(id && { id }) } })

const HEADER =
  'eyJhbGciOiJFUzI1NiIsImtpZCI6IlA1VXBPdjBlTXExd2N4TGY3V3hJZzA5SmRTWUdZRkRPV2tsZHVlYUltZjAifQ.'
const A1 =
  `${HEADER}eyJleHAiOjE2NDY4NjczNjksImlzcyI6InVDRE4gSW5jIiwiY2RuaXVjIjoiaGFzaDpzaGEtMjU2OzJ0ZGVyZldQYTg2S3U3WW56` +
  'VzUxWVVwN2RHVWpCU18zU1czRUx4NGhtV1kifQ.TaNlJM3D96i_9J9XvlICO6FUIDFTqt3E2YJkEUOLfcH0b89wYRKTbJ9Yj6h_GRgSoZoQO' +
  '0cps3yUPcWGK3smCw'
const A2 =
  `${HEADER}eyJhdWQiOiJkQ0ROIExMQyIsInN1YiI6ImV5SmxibU1pT2lKQk1USTRSME5OSWl3aVlXeG5Jam9pWkdseUlpd2lhMmxrSWpvaVpp` +
  'MVhZbXA0UWtNelpGQjFTVE5rTWpSclVESm9ablp2Y3pkUmVqWTRPRlZVYVRaaFFqQm9Uams1T0NKOS4uQ0xBdTgweGNsYzhCcC1VaS42UDFB' +
  'M0Y2aXAyRHYuQ29oZHRMTHBnQm5UdlJKUUNGdXotZyIsImNkbmlpcCI6ImV5SmxibU1pT2lKQk1USTRSME5OSWl3aVlXeG5Jam9pWkdseUlp' +
  'd2lhMmxrSWpvaVppMVhZbXA0UWtNelpGQjFTVE5rTWpSclVESm9ablp2Y3pkUmVqWTRPRlZVYVRaaFFqQm9Uams1T0NKOS4uYVVEREZFUUJJ' +
  'YzNuV2pPYi5iR1hXVEhQa250bVBDS24wcFBQTkVRLml5VHR0bkZ5Yk8yWUJMcXdsX1lTakEiLCJjZG5pdiI6MSwiZXhwIjoxNjQ2ODY3MzY5' +
  'LCJpYXQiOjE2NDY2OTQ1NjksImlzcyI6InVDRE4gSW5jIiwianRpIjoiNURBYWZMaFpBZmhzYmUiLCJuYmYiOjE2NDY3ODA5NjksImNkbml1' +
  'YyI6InJlZ2V4Omh0dHA6Ly9jZG5pXFwuZXhhbXBsZS9mb28vYmFyL1swLTldezN9XFwucG5nIn0.IjmVX0uD5MYqArc-M08uEsEeoDQn8kuY' +
  'XZ9HGHDmDDxsHikT0c8jcX8xYD0z3LzQclMG65i1kT2sRbZ7isUw8w'
const A3_BEFORE =
  `${HEADER}eyJjZG5pZXRzIjozMCwiY2RuaXN0dCI6MSwiY2RuaXN0ZCI6MiwiZXhwIjoxNjQ2ODY3MzY5LCJjZG5pdWMiOiJyZWdleDpodHRw` +
  'Oi8vY2RuaVxcLmV4YW1wbGUvZm9vL2Jhci9bMC05XXszfVxcLnRzIn0.tlPvoKw3BCClw4Lx9PQu7MK6b2IN55ZoCPSaxovGK0zS53Wpb1Mb' +
  'JBow7G8LiGR39h6-2Iq7PWUSr3MdTIzHYw'
const A3_AFTER =
  `${HEADER}eyJjZG5pZXRzIjozMCwiY2RuaXN0dCI6MSwiY2RuaXN0ZCI6MiwiZXhwIjoxNjQ2ODY3Mzk5LCJjZG5pdWMiOiJyZWdleDpodHRw` +
  'Oi8vY2RuaVxcLmV4YW1wbGUvZm9vL2Jhci9bMC05XXszfVxcLnRzIn0.ivY5d_fKGd-OHTpUs8uJUrnHvt-rduzu5H4zM7167pUUAghub53F' +
  'qDQ5G16jRYX2sY73mA_uLpYDdb-CPts8FA'

const IN_TIME = 1_646_800_000
const ask = (uri: string, token: string, now: number, document = documentOf('uCDN Inc')) =>
  verifyUri({ uri: `${uri}?URISigningPackage=${token}`, document, now })

test('A.1: a hash', async () => {
  const uri = 'http://cdni.example/foo/bar'
  assert.equal((await ask(uri, A1, IN_TIME)).code, 200)
  assert.equal((await ask(uri, A1, 1_646_867_368.9)).code, 200)
  assert.equal((await ask(uri, A1, 1_646_867_369)).code, 404)
  assert.equal((await ask(`${uri}/baz`, A1, IN_TIME)).code, 411)
  assert.equal((await ask(uri, A1, IN_TIME, documentOf('another'))).code, 401)
})

test('A.2: every claim; the first that nobody here can check is the jti', async () => {
  const uri = 'http://cdni.example/foo/bar/123.png'
  const document = documentOf('uCDN Inc', 'dCDN LLC')
  const verdict = await ask(uri, A2, IN_TIME, document)
  assert.equal(verdict.code, 407)
  assert.equal(verdict.checks.find(({ name }) => name === 'signature')?.ok, true)
  assert.equal((await ask(uri, A2, IN_TIME)).code, 403)
  assert.equal((await ask(uri, A2, 1_646_780_968, document)).code, 405)
  const open = async (name: string) =>
    Buffer.from((await compactDecrypt(String(verdict.claims?.[name]), SECRET)).plaintext).toString()
  assert.equal(await open('cdniip'), '[2001:db8::1/32]')
  assert.equal(await open('sub'), 'UserToken')
})

test('A.3: renewal; without iss no cache takes either token', async () => {
  const uri = 'http://cdni.example/foo/bar/123.ts'
  for (const token of [A3_BEFORE, A3_AFTER])
    assert.equal((await ask(uri, token, IN_TIME)).code, 401)
  const claimsOf = (token: string) =>
    JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  const now = 1_646_867_369
  const renewal = await renewToken({
    claims: claimsOf(A3_BEFORE),
    uri,
    document: documentOf('uCDN Inc'),
    now,
  })
  assert.equal(renewal?.path, '/foo/bar')
  assert.deepEqual(claimsOf(renewal?.token ?? ''), {
    ...claimsOf(A3_AFTER),
    ...{ iss: 'uCDN Inc', iat: now, cdniv: 1 },
  })
})

test('A.3: the signatures of every token verify', () => {
  const key = createPublicKey({ key: KEY, format: 'jwk' })
  for (const token of [A1, A2, A3_BEFORE, A3_AFTER]) {
    const dot = token.lastIndexOf('.')
    const signature = Buffer.from(token.slice(dot + 1), 'base64url')
    const input = Buffer.from(token.slice(0, dot))
    assert.equal(verify('sha256', input, { key, dsaEncoding: 'ieee-p1363' }, signature), true)
  }
})
