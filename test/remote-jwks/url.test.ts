import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isProblem } from '../../src/errors.ts'
import {
  hostOf,
  NO_CREDENTIALS,
  NO_LOCAL,
  parseRemoteUrl,
  withoutBrackets,
} from '../../src/remote-jwks/url.ts'
import { problemOf } from '../core/fixtures.ts'

const NOT_VALID = 'The URL is not valid'
const SCHEME = 'Only http and https URLs are allowed'

const bad: [url: string, detail: string][] = [
  ...['user:pass@', 'user@', ':pass@', '@', ':@', 'a%40b:c@', 'https:@'].map(
    (part): [string, string] => [`https://${part}example.com/`, NO_CREDENTIALS],
  ),
  ['http:\\\\@example.com', NO_CREDENTIALS],
  ['http:user@example.com', NO_CREDENTIALS],
  ...[
    ...[
      'localhost',
      'LocalHost',
      'localhost.',
      'LOCALHOST.:8080',
      '%6cocalhost',
      'ｌｏｃａｌｈｏｓｔ',
    ],
    ...['host.docker.internal', 'Host.Docker.Internal.', 'host%2edocker.internal'],
    ...['localhost。', 'host。docker．internal'],
  ].map((host): [string, string] => [`http://${host}/jwks`, NO_LOCAL]),
  ...['ftp://example.com', 'file:///etc/passwd', 'data:,x', 'javascript:1', 'ws://example.com'].map(
    (url): [string, string] => [url, SCHEME],
  ),
  ...[
    ...[
      '',
      'example.com',
      '//example.com',
      'https://',
      'https://./',
      'https://a b',
      'https://a\tb',
    ],
    ...[' https://a', 'https://a\n', 'https://a/\0', 'https://[::1', 'https://[fe80::1%25eth0]/'],
    ...['https://256.256.256.256', 'https://a:99999', 'https://a\u0085b/'],
  ].map((url): [string, string] => [url, NOT_VALID]),
  [`https://a/${'x'.repeat(2039)}`, 'The URL is longer than 2048 characters'],
]

for (const [url, detail] of bad) {
  test(`refused: ${JSON.stringify(url.slice(0, 60))}`, () => {
    const problem = problemOf(() => parseRemoteUrl(url))
    assert.equal(problem.code, 'url_refused')
    assert.equal(problem.status, 400)
    assert.equal(problem.detail, detail)
  })
}

const hosts: [url: string, host: string][] = [
  ['https://Example.COM/jwks', 'example.com'],
  ['https://example.com./', 'example.com'],
  ['http://[::1]/', '::1'],
  ['http://[2001:DB8::1]:8080/', '2001:db8::1'],
  ['http://127.1/', '127.0.0.1'],
  ['http://0x7f.1/', '127.0.0.1'],
  ['http://2130706433/', '127.0.0.1'],
  ['http://127.0.0.1./', '127.0.0.1'],
  ['http://[::ffff:127.0.0.1]/', '::ffff:7f00:1'],
  ['https://example.com/a@b?c@d#e@f', 'example.com'],
  ['https://notlocalhost/', 'notlocalhost'],
  ['https://localhost.example/', 'localhost.example'],
  [`https://a/${'x'.repeat(2038)}`, 'a'],
]

for (const [url, host] of hosts) {
  test(`read: ${url.slice(0, 60)} leads to ${host}`, () => {
    assert.equal(hostOf(parseRemoteUrl(url)), host)
  })
}

test('a final dot is kept for the resolver', () => {
  assert.equal(withoutBrackets(parseRemoteUrl('https://example.com./')), 'example.com.')
})

test('any text is read or refused, never anything else, and the refusal repeats none of it', () => {
  const secret = 'hunter2secret'
  const text = fc.oneof(fc.string(), fc.webUrl(), fc.webUrl({ withFragments: true }))
  fc.assert(
    fc.property(text, fc.boolean(), (part, before) => {
      try {
        const url = parseRemoteUrl(before ? `https://${secret}@${part}` : `${part}${secret}`)
        assert.ok(['http:', 'https:'].includes(url.protocol))
        assert.equal(url.username + url.password, '')
      } catch (error) {
        assert.ok(isProblem(error, 'url_refused'), String(error))
        assert.ok(!error.detail.includes(secret))
      }
    }),
  )
})
