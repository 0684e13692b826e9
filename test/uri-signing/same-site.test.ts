import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isFromElsewhere } from '../../src/uri-signing/same-site.ts'

// A write that another site made a browser send is refused (product.md section 4).

const HOST = 'ops.example:4650'

for (const [what, headers, expected] of [
  ['neither header: no browser', {}, false],
  ['our own page', { origin: 'http://ops.example:4650', 'sec-fetch-site': 'same-origin' }, false],
  ['our own page over TLS', { origin: 'https://ops.example:4650' }, false],
  ['in other letters', { origin: 'http://OPS.example:4650' }, false],
  ['an address that was typed', { 'sec-fetch-site': 'none' }, false],
  ['another site', { 'sec-fetch-site': 'cross-site' }, true],
  ['a neighbour', { 'sec-fetch-site': 'same-site' }, true],
  ['a word that is none', { 'sec-fetch-site': 'yes' }, true],
  ['an empty word', { 'sec-fetch-site': '' }, true],
  ['another origin', { origin: 'https://evil.example' }, true],
  ['another port', { origin: 'http://ops.example' }, true],
  ['a name that only begins like ours', { origin: 'http://ops.example.evil.example:4650' }, true],
  ['our name as a user', { origin: 'http://ops.example:4650@evil.example' }, true],
  ['a sandboxed frame', { origin: 'null' }, true],
  ['an empty origin', { origin: '' }, true],
  ['an origin of ours in a word of another', { origin: HOST }, true],
  [
    'one says so, the other does not',
    { origin: 'http://ops.example:4650', 'sec-fetch-site': 'cross-site' },
    true,
  ],
  ['the other way round', { origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' }, true],
] as const) {
  test(`${what}: ${expected ? 'elsewhere' : 'here'}`, () => {
    assert.equal(isFromElsewhere(headers, HOST), expected)
  })
}

test('the port that a scheme implies may be written or not', () => {
  assert.equal(isFromElsewhere({ origin: 'https://ops.example' }, 'ops.example:443'), false)
  assert.equal(isFromElsewhere({ origin: 'http://ops.example:80' }, 'ops.example'), false)
  assert.equal(isFromElsewhere({ origin: 'http://ops.example' }, 'ops.example:443'), true)
})

test('without a host that can be read, nothing is ours', () => {
  for (const host of ['', 'a b', 'evil.example/ops.example']) {
    assert.equal(isFromElsewhere({ origin: 'http://ops.example' }, host), true, host)
  }
})
