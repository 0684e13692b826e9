import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isTrusted, parseTrustedIp, type TrustedIp } from '../../src/identities/trusted-ips.ts'
import { problemOf } from '../core/fixtures.ts'

// Identity contract, section 5.

const STORED: [text: string, stored: TrustedIp][] = [
  ['192.168.4.9', { ipAddress: '192.168.4.9', type: 'ipv4' }],
  ['10.0.0.0/8', { ipAddress: '10.0.0.0', type: 'ipv4', prefix: 8 }],
  ['::/0', { ipAddress: '::', type: 'ipv6', prefix: 0 }],
  ['0.0.0.0/0', { ipAddress: '0.0.0.0', type: 'ipv4', prefix: 0 }],
  ['10.20.0.0/16', { ipAddress: '10.20.0.0', type: 'ipv4', prefix: 16 }],
  ['2001:4860::8', { ipAddress: '2001:4860::8', type: 'ipv6' }],
  ['10.1.2.3/32', { ipAddress: '10.1.2.3', type: 'ipv4', prefix: 32 }],
  ['::1/128', { ipAddress: '::1', type: 'ipv6', prefix: 128 }],
  // Echoed as it was given.
  ['10.1.2.3/8', { ipAddress: '10.1.2.3', type: 'ipv4', prefix: 8 }],
  ['2001:DB8:0:0::1', { ipAddress: '2001:DB8:0:0::1', type: 'ipv6' }],
  ['::ffff:10.0.0.1', { ipAddress: '::ffff:10.0.0.1', type: 'ipv6' }],
]

for (const [text, stored] of STORED) {
  test(`section 5: ${text} is stored and answered with these members`, () => {
    const parsed = parseTrustedIp(text)
    assert.deepEqual(parsed, stored)
    assert.equal(JSON.stringify(parsed), JSON.stringify(stored))
  })
}

const REFUSED = [
  '',
  ' ',
  '10.0.0.0/8x',
  '10.0.0.0/',
  '10.0.0.0/8/8',
  '10.0.0.0//8',
  '10.0.0.0/-8',
  '10.0.0.0/+8',
  '10.0.0.0/08',
  '10.0.0.0/8.0',
  '10.0.0.0/ 8',
  '10.0.0.0/33',
  '10.0.0.0/255.0.0.0',
  '::/129',
  '::/1000',
  '/8',
  '10.0.0',
  '10',
  '167772160',
  '010.0.0.1',
  '0x0a.0.0.1',
  '256.0.0.1',
  '10.0.0.0.0',
  '1.2.3.4 ',
  'localhost',
  'host.example/8',
  'fe80::1%eth0',
  'fe80::1%1/64',
  '::1::',
  '12345::',
  '[::1]',
  '::ffff:010.0.0.1',
  '1:2:3:4:5:6:7:8:9',
  `${'0'.repeat(100)}::/0`,
  '1'.repeat(100_000),
]

for (const text of REFUSED) {
  test(`section 5: ${JSON.stringify(text.slice(0, 24))} (${text.length}) is refused`, () => {
    const problem = problemOf(() => parseTrustedIp(text))
    assert.equal(problem.status, 400)
    assert.equal(problem.detail, 'The IP is not a valid IPv4, IPv6, or CIDR block')
  })
}

const MEMBERS: [range: string, inside: string[], outside: string[]][] = [
  ['192.168.4.9', ['192.168.4.9', '::ffff:192.168.4.9'], ['192.168.4.8', '::c0a8:409']],
  ['10.0.0.0/8', ['10.0.0.0', '10.255.255.255', '::ffff:10.1.2.3'], ['11.0.0.0', '::10.1.2.3']],
  ['10.1.2.3/8', ['10.9.9.9'], ['9.255.255.255']],
  ['10.0.0.128/25', ['10.0.0.128', '10.0.0.255'], ['10.0.0.127', '10.0.1.128']],
  // `0.0.0.0/0` alone does not admit a v6 client, nor `::/0` a v4 one.
  ['0.0.0.0/0', ['1.2.3.4', '::ffff:1.2.3.4', '::ffff:102:304'], ['::', '::1', '2001:db8::1']],
  ['::/0', ['::', '::1', '2001:db8::1', '::1.2.3.4'], ['1.2.3.4', '::ffff:1.2.3.4']],
  ['2001:db8::/33', ['2001:db8:7fff::'], ['2001:db8:8000::', '2001:db7::']],
  ['::1', ['::1', '0:0:0:0:0:0:0:1', '::0.0.0.1'], ['::2', '0.0.0.1', '127.0.0.1']],
  // Ranges of mapped addresses are ranges of IPv4.
  ['::ffff:10.0.0.1', ['10.0.0.1', '::ffff:10.0.0.1', '::FFFF:a00:1'], ['10.0.0.2', '::10.0.0.1']],
  ['::ffff:a00:1', ['10.0.0.1'], ['10.0.0.2']],
  ['::ffff:10.0.0.0/104', ['10.9.9.9', '::ffff:10.9.9.9'], ['11.0.0.0', '::a00:0']],
  ['::ffff:0:0/96', ['1.2.3.4', '::ffff:1.2.3.4'], ['::1', '2001:db8::1']],
  ['::ffff:0:0/80', ['::1', '::fffe:0:0'], ['1.2.3.4', '::ffff:1.2.3.4', '0:0:0:0:1::']],
  // These are not mapped, whatever a library makes of them.
  ['::1.2.3.4', ['::1.2.3.4', '::102:304'], ['1.2.3.4', '::ffff:1.2.3.4']],
]

for (const [range, inside, outside] of MEMBERS) {
  test(`section 5: ${range} holds what it should`, () => {
    const ips = [parseTrustedIp(range)]
    for (const address of inside) assert.equal(isTrusted(ips, address), true, address)
    for (const address of outside) assert.equal(isTrusted(ips, address), false, address)
  })
}

const ANYWHERE = ['0.0.0.0/0', '::/0'].map(parseTrustedIp)

test('section 5: the default pair holds every address, and nothing that is none', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (address) => {
      assert.equal(isTrusted(ANYWHERE, address), true)
    }),
  )
  for (const address of [
    '',
    'unknown',
    'fe80::1%eth0',
    '1.2.3.4:80',
    '01.2.3.4',
    '1.2.3.4, 5.6.7.8',
  ]) {
    assert.equal(isTrusted(ANYWHERE, address), false, address)
  }
})

test('no range holds anybody where none is listed or where it does not parse', () => {
  assert.equal(isTrusted([], '1.2.3.4'), false)
  assert.equal(isTrusted([{ ipAddress: 'x', type: 'ipv4', prefix: 0 }], '1.2.3.4'), false)
})

test('any one of the entries is enough', () => {
  const ips = ['10.0.0.1', '2001:db8::/32', '10.0.0.3'].map(parseTrustedIp)
  for (const address of ['10.0.0.1', '10.0.0.3', '2001:db8::9']) {
    assert.equal(isTrusted(ips, address), true, address)
  }
  assert.equal(isTrusted(ips, '10.0.0.2'), false)
})

const toBits = (address: string): string =>
  address
    .split('.')
    .map((octet) => Number(octet).toString(2).padStart(8, '0'))
    .join('')

test('section 5: a range of IPv4 holds exactly the addresses that begin with its bits', () => {
  const near = fc
    .tuple(fc.nat(3), fc.nat(3), fc.nat(3), fc.nat(3))
    .map((octets) => octets.join('.'))
  fc.assert(
    fc.property(near, near, fc.nat(32), (base, address, prefix) => {
      const expected = toBits(base).slice(0, prefix) === toBits(address).slice(0, prefix)
      const ips = [parseTrustedIp(`${base}/${prefix}`)]
      assert.equal(isTrusted(ips, address), expected)
      assert.equal(isTrusted(ips, `::ffff:${address}`), expected)
      assert.equal(isTrusted([parseTrustedIp(`::ffff:${base}/${prefix + 96}`)], address), expected)
    }),
    { numRuns: 500 },
  )
})
