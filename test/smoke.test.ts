import assert from 'node:assert/strict'
import test from 'node:test'
import { testServer } from './server.ts'

test('a token signed just before a rotation verifies until it expires', async (t) => {
  const { call, clock } = await testServer(t)
  const signed = await call('POST', '/v1/rings/default/sign', {
    claims: { sub: 'job-1' },
    ttl: '1h',
  })
  assert.equal(signed.status, 200, JSON.stringify(signed.json))
  assert.equal((await call('POST', '/v1/rings/default/rotate')).status, 200)
  clock.advance('59m')
  const verdict = await call('POST', '/v1/verify', {
    token: signed.json.token,
    with: { ring: 'default' },
  })
  assert.equal(verdict.json.valid, true)
  assert.equal(verdict.json.claims.sub, 'job-1')
})
