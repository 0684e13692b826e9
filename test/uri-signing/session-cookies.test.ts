import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { jwtVerify } from 'jose'
import {
  createCookieSigner,
  findCookie,
  isSessionToken,
  setCookies,
} from '../../src/uri-signing/session-cookies.ts'

// The cookies of a Traffic Ops session (URI signing contract section 3).

const SECRET = new Uint8Array(32).fill(7)
const signer = createCookieSigner(SECRET)
const NOW = Date.UTC(2026, 0, 1)
const session = { id: 'abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE', userId: 'user-1' }

test('what was signed reads back, by either cookie', () => {
  assert.deepEqual(signer.readCookie(signer.cookie(session)), session)
  const token = signer.token(session, NOW, NOW + 1000)
  assert.deepEqual(signer.readToken(token, NOW), session)
  assert.ok(isSessionToken(token))
})

test('the access token is a JWT of HS256 with the session and its end (section 3)', async () => {
  const key = createHmac('sha256', SECRET).update('traffic-ops/access_token').digest()
  const token = signer.token(session, NOW, NOW + 6 * 3600_000)
  const { payload, protectedHeader } = await jwtVerify(token, key, { currentDate: new Date(NOW) })
  assert.deepEqual(protectedHeader, { alg: 'HS256', typ: 'JWT' })
  const iat = NOW / 1000
  assert.deepEqual(payload, { sub: 'user-1', sid: session.id, iat, exp: iat + 21600 })
})

test('an access token ends with its last second', () => {
  const token = signer.token(session, NOW, NOW + 1000)
  assert.deepEqual(signer.readToken(token, NOW + 999), session)
  assert.equal(signer.readToken(token, NOW + 1000), undefined)
})

test('one changed character is no cookie and no token', () => {
  const made = { cookie: signer.cookie(session), token: signer.token(session, NOW, NOW + 1000) }
  const flip = (text: string, at: number) => {
    const char = text[at] === 'A' ? 'B' : 'A'
    return `${text.slice(0, at)}${char}${text.slice(at + 1)}`
  }
  fc.assert(
    fc.property(fc.nat(made.cookie.length - 1), (at) => {
      const changed = flip(made.cookie, at)
      // Hex of either case is the same signature; nothing else is.
      if (changed.toLowerCase() === made.cookie.toLowerCase()) return
      assert.equal(signer.readCookie(changed), undefined)
    }),
  )
  const lastOf = made.token.length - 1
  fc.assert(
    fc.property(fc.nat(lastOf - 1), (at) => {
      assert.equal(signer.readToken(flip(made.token, at), NOW), undefined)
    }),
  )
})

test('a cookie is no token, a token no cookie, and neither another server’s', () => {
  const other = createCookieSigner(new Uint8Array(32).fill(8))
  const token = signer.token(session, NOW, NOW + 1000)
  assert.equal(signer.readCookie(token), undefined)
  assert.equal(signer.readToken(signer.cookie(session), NOW), undefined)
  assert.equal(other.readCookie(signer.cookie(session)), undefined)
  assert.equal(other.readToken(token, NOW), undefined)
})

test('a token cannot choose its algorithm, nor carry anything but a session', () => {
  const key = createHmac('sha256', SECRET).update('traffic-ops/access_token').digest()
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const sign = (header: unknown, claims: unknown) => {
    const input = `${encode(header)}.${encode(claims)}`
    return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
  }
  const claims = { sub: 'u', sid: session.id, exp: NOW / 1000 + 60 }
  const good = { alg: 'HS256', typ: 'JWT' }
  assert.ok(signer.readToken(sign(good, claims), NOW))
  for (const [header, body] of [
    [{ alg: 'none', typ: 'JWT' }, claims],
    [{ typ: 'JWT', alg: 'HS256' }, claims],
    [{ alg: 'HS256' }, claims],
    [good, { ...claims, exp: undefined }],
    [good, { ...claims, exp: String(claims.exp) }],
    [good, { ...claims, sid: 42 }],
    [good, { ...claims, sid: '' }],
    [good, { ...claims, sub: null }],
    [good, null],
    [good, []],
    [good, 'text'],
  ]) {
    assert.equal(
      signer.readToken(sign(header, body), NOW),
      undefined,
      JSON.stringify([header, body]),
    )
  }
  assert.equal(signer.readToken(`${sign(good, claims)}.x`, NOW), undefined)
})

test('any text is read without an error', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
      assert.equal(signer.readCookie(text), undefined)
      assert.equal(signer.readToken(text, NOW), undefined)
      findCookie(text)
    }),
  )
})

test('the first of the two cookies counts, in the order of the header (section 3)', () => {
  const cases: [string | undefined, ReturnType<typeof findCookie>][] = [
    [undefined, undefined],
    ['', undefined],
    ['a=b; c', undefined],
    ['a=b; mojolicious=x--y; access_token=z', { name: 'mojolicious', value: 'x--y' }],
    ['access_token=z; mojolicious=x', { name: 'access_token', value: 'z' }],
    ['mojolicious=; access_token=z', { name: 'mojolicious', value: '' }],
    ['mojolicious; access_token=z', { name: 'access_token', value: 'z' }],
    ['Mojolicious=x', undefined],
    ['xmojolicious=x', undefined],
    ['mojolicious=a=b', { name: 'mojolicious', value: 'a=b' }],
    [`a=${'x'.repeat(9000)}; mojolicious=x`, undefined],
  ]
  for (const [header, expected] of cases) {
    assert.deepEqual(findCookie(header), expected, String(header).slice(0, 80))
  }
})

test('attributes of both cookies; Secure over TLS only', () => {
  const values = { cookie: 'c', token: 't' }
  assert.deepEqual(setCookies(values, { maxAge: 21600, secure: false }), [
    'mojolicious=c; Path=/; Max-Age=21600; HttpOnly; SameSite=Strict',
    'access_token=t; Path=/; Max-Age=21600; HttpOnly; SameSite=Strict',
  ])
  for (const cookie of setCookies(values, { maxAge: 0, secure: true })) {
    assert.match(cookie, /; Max-Age=0; HttpOnly; SameSite=Strict; Secure$/)
  }
})
