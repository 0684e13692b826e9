import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashToken, isApiToken, newApiToken, tokenOf } from '../../src/access/credential.ts'

test('token sources in their order (keyring contract section 1.2)', () => {
  const table: [headers: Record<string, string>, token: string | undefined][] = [
    [{}, undefined],
    [{ 'x-nomad-token': 'a' }, 'a'],
    [{ 'x-nomad-token': '  a\t' }, 'a'],
    [{ 'x-nomad-token': '', authorization: 'Bearer b' }, 'b'],
    [{ 'x-nomad-token': '   ', authorization: 'Bearer b' }, 'b'],
    [{ 'x-nomad-token': 'a', authorization: 'Bearer b' }, 'a'],
    [{ authorization: 'bearer b' }, 'b'],
    [{ authorization: 'BEARER  b  c d' }, 'b'],
    [{ authorization: ' Bearer\tb' }, 'b'],
    [{ authorization: 'Bearer' }, undefined],
    [{ authorization: 'Bearer ' }, undefined],
    [{ authorization: 'Bearerb' }, undefined],
    [{ authorization: 'Basic b' }, undefined],
    [{ authorization: 'b' }, undefined],
    [{ authorization: 'Token b' }, undefined],
    [{ cookie: 'token=a' }, undefined],
  ]
  for (const [headers, token] of table) {
    assert.equal(tokenOf(headers), token, JSON.stringify(headers))
  }
})

test('a token of a megabyte is one that nobody has, not one that is looked up', () => {
  const long = 'a'.repeat(1024 * 1024)
  assert.equal(tokenOf({ 'x-nomad-token': long }), '')
  assert.equal(tokenOf({ authorization: `Bearer ${long}` }), '')
  assert.equal(tokenOf({ authorization: `Bearer ${'a'.repeat(4000)}` })?.length, 4000)
})

test('new tokens are 256 random bits behind their prefix', () => {
  const tokens = new Set(Array.from({ length: 100 }, newApiToken))
  assert.equal(tokens.size, 100)
  for (const token of tokens) {
    assert.match(token, /^krd_[\w-]{43}$/)
    assert.ok(isApiToken(token))
    assert.equal(Buffer.from(token.slice(4), 'base64url').length, 32)
  }
})

test('the hash is SHA-256', () => {
  assert.equal(
    Buffer.from(hashToken('abc')).toString('hex'),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  )
})
