import assert from 'node:assert/strict'
import { BlockList } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  createAddressCheck,
  isPublicAddress,
  NEVER,
  REFUSED,
} from '../../src/remote-jwks/addresses.ts'
import { hostOf, parseRemoteUrl } from '../../src/remote-jwks/url.ts'

// First and last address of every block; the contract's list (identity contract section 4), then ours.
const blocks: [block: string, first: string, last: string][] = [
  ['0.0.0.0/8', '0.0.0.0', '0.255.255.255'],
  ['10.0.0.0/8', '10.0.0.0', '10.255.255.255'],
  ['100.64.0.0/10', '100.64.0.0', '100.127.255.255'],
  ['127.0.0.0/8', '127.0.0.0', '127.255.255.255'],
  ['169.254.0.0/16', '169.254.0.0', '169.254.255.255'],
  ['172.16.0.0/12', '172.16.0.0', '172.31.255.255'],
  ['192.0.0.0/24', '192.0.0.0', '192.0.0.255'],
  ['192.0.2.0/24', '192.0.2.0', '192.0.2.255'],
  ['192.88.99.0/24', '192.88.99.0', '192.88.99.255'],
  ['192.168.0.0/16', '192.168.0.0', '192.168.255.255'],
  ['198.18.0.0/15', '198.18.0.0', '198.19.255.255'],
  ['198.51.100.0/24', '198.51.100.0', '198.51.100.255'],
  ['203.0.113.0/24', '203.0.113.0', '203.0.113.255'],
  ['224.0.0.0/4', '224.0.0.0', '239.255.255.255'],
  ['240.0.0.0/4', '240.0.0.0', '255.255.255.255'],
  ['255.255.255.255/32', '255.255.255.255', '255.255.255.255'],
  ['::/128', '::', '0:0:0:0:0:0:0:0'],
  ['::1/128', '::1', '0:0:0:0:0:0:0:1'],
  ['ff00::/8', 'ff00::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['fe80::/10', 'fe80::', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['fc00::/7', 'fc00::', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['::ffff:0:0/96', '::ffff:0.0.0.0', '::ffff:255.255.255.255'],
  ['2001:db8::/32', '2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001:2::/48', '2001:2::', '2001:2:0:ffff:ffff:ffff:ffff:ffff'],
  ['100::/64', '100::', '100::ffff:ffff:ffff:ffff'],
  ['64:ff9b::/96', '64:ff9b::', '64:ff9b::255.255.255.255'],
  ['64:ff9b:1::/48', '64:ff9b:1::', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'],
  ['2002::/16', '2002::', '2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001::/32', '2001::', '2001:0:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['3fff::/20', '3fff::', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001:10::/28', '2001:10::', '2001:1f:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['2001:20::/28', '2001:20::', '2001:2f:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['168.63.129.16/32', '168.63.129.16', '168.63.129.16'],
]

/** The addresses beside them that are public. */
const neighbours = [
  ...['1.0.0.0', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255'],
  ...['128.0.0.0', '169.253.255.255', '169.255.0.0', '172.15.255.255', '172.32.0.0'],
  ...['191.255.255.255', '192.0.1.0', '192.0.1.255', '192.0.3.0', '192.88.98.255', '192.88.100.0'],
  ...['192.167.255.255', '192.169.0.0', '198.17.255.255', '198.20.0.0', '198.51.99.255'],
  ...['198.51.101.0', '203.0.112.255', '203.0.114.0', '223.255.255.255', '168.63.129.15'],
  ...['168.63.129.17', '8.8.8.8', '2000::', '2001:1::', '2001:2:1::', '2001:3::', '2001:f::'],
  ...['2001:30::', '2001:db7:ffff:ffff:ffff:ffff:ffff:ffff', '2001:db9::', '2003::'],
  ...['2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '2606:4700::1111', '3ffe::', '3fff:1000::'],
  '3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
]

const nowhere = [
  // Outside 2000::/3: what is unassigned, or an IPv4 address in another dress.
  ...['::2', '::127.0.0.1', '::ffff:0:127.0.0.1', '0:0:0:0:ffff:0:10.0.0.1', '1fff::', '4000::'],
  ...['5f00::', 'fbff::', 'fe00::', 'fec0::1', '64:ff9a::', '64:ff9b:0:1::', '100:0:0:1::'],
  ...['fe80::1%eth0', 'fe80::1%25', '::1%lo', '2000::%eth0/3'],
  // No address in its exact form.
  ...['', ' ', 'example.com', '127.1', '0x7f.1', '2130706433', '017700000001', '0177.0.0.1'],
  ...['8.8.8.08', '8.8.8', '8.8.8.8.8', '8.8.8.256', '8.8.8.8/32', '[2000::]', '2000::/3', ':::'],
  ...['2000:::1', '2000::1::', '20000::', '8.8.8.8%eth0', '8.8.8.8\n', '２000::'],
]

const check = createAddressCheck({ allowInternalIpConnections: false, allowInternalHosts: [] })
const anywhere = createAddressCheck({ allowInternalIpConnections: true, allowInternalHosts: [] })

test('every block is in these tables', () => {
  assert.deepEqual([...REFUSED].sort(), blocks.map(([block]) => block).sort())
})

for (const [block, first, last] of blocks) {
  test(`${block} is refused from its first address to its last`, () => {
    for (const address of [first, last]) {
      assert.equal(isPublicAddress(address), false, address)
      assert.equal(check('example.com', address), false, address)
    }
  })
}

test('the addresses beside the blocks are public', () => {
  for (const address of neighbours) {
    assert.equal(isPublicAddress(address), true, address)
    assert.equal(check('example.com', address), true, address)
  }
})

test('what is assigned to nobody, and what is no address, is refused', () => {
  for (const address of nowhere) assert.equal(check('example.com', address), false, address)
})

test('a listed name may resolve to internal addresses, others may not', () => {
  const allowed = createAddressCheck({
    allowInternalIpConnections: false,
    allowInternalHosts: ['idp.internal'],
  })
  assert.equal(allowed('idp.internal', '10.1.2.3'), true)
  assert.equal(allowed('idp.internal', 'fd00::1'), true)
  assert.equal(allowed('idp.internal', '8.8.8.8'), true)
  for (const host of ['other.internal', 'x.idp.internal', 'idp.internal.evil.example', '10.1.2.3'])
    assert.equal(allowed(host, '10.1.2.3'), false, host)
})

test('a listed network allows its addresses to every name, and no others', () => {
  const allowInternalHosts = ['10.1.0.0/16', 'fd00:1::/32', '192.168.0.7', '::1']
  const allowed = createAddressCheck({ allowInternalIpConnections: false, allowInternalHosts })
  for (const address of ['10.1.0.0', '10.1.255.255', 'fd00:1::9', '192.168.0.7', '::1'])
    assert.equal(allowed('any.example', address), true, address)
  for (const address of ['10.0.255.255', '10.2.0.0', 'fd00:2::', '192.168.0.8', '127.0.0.1', '::2'])
    assert.equal(allowed('any.example', address), false, address)
  assert.equal(allowed('any.example', '::ffff:10.1.0.1'), false, 'it needs an entry of its own')
})

test('where internal addresses are allowed, what is no unicast still is not', () => {
  for (const address of ['127.0.0.1', '10.0.0.1', '169.254.169.254', '::1', 'fe80::1%eth0'])
    assert.equal(anywhere('any.example', address), true, address)
  const everything = createAddressCheck({
    allowInternalIpConnections: true,
    allowInternalHosts: ['any.example', '0.0.0.0/0', '::/0'],
  })
  const never = [
    ...['0.0.0.0', '0.255.255.255', '224.0.0.1', '239.255.255.255', '255.255.255.255'],
    ...['::', 'ff02::1', '::ffff:0.0.0.0', '::ffff:224.0.0.1', '::ffff:ffff:ffff'],
  ]
  for (const address of never) assert.equal(everything('any.example', address), false, address)
  assert.equal(everything('any.example', '240.0.0.1'), true, 'used inside by some clouds')
  assert.equal(NEVER.length, 5)
})

// Properties ---------------------------------------------------------------------------------------------

const oracle = new BlockList()
for (const block of REFUSED) {
  // To this reader an IPv4 address is in that block.
  if (block === '::ffff:0:0/96') continue
  const [base = '', bits] = block.split('/')
  oracle.addSubnet(base, Number(bits), base.includes(':') ? 'ipv6' : 'ipv4')
}

const hex = (bytes: readonly number[]) =>
  bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')

/** Every way to write these four bytes that some reader of URLs takes for the address. */
function formsOfV4(bytes: readonly number[]): string[] {
  const [a = 0, b = 0, c = 0, d = 0] = bytes
  const whole = ((a * 256 + b) * 256 + c) * 256 + d
  const dotted = bytes.join('.')
  return [
    ...[dotted, `${dotted}.`, String(whole), `0x${whole.toString(16)}`, `0${whole.toString(8)}`],
    ...[`${a}.${(b * 256 + c) * 256 + d}`, `${a}.${b}.${c * 256 + d}`],
    bytes.map((byte) => `0x${byte.toString(16)}`).join('.'),
    bytes.map((byte) => `0${byte.toString(8)}`).join('.'),
    bytes.map((byte) => `0X${byte.toString(16).toUpperCase()}`).join('.'),
    dotted.replaceAll('.', '%2e'),
    dotted.replaceAll('.', '。'),
    dotted.replace(/\d/g, (digit) => String.fromCodePoint(0xff10 + Number(digit))),
  ]
}

/** Every way to write these sixteen bytes in brackets. */
function formsOfV6(bytes: readonly number[]): string[] {
  const groups = hex(bytes).match(/.{4}/g) ?? []
  const full = groups.join(':')
  const short = groups.map((group) => group.replace(/^0{1,3}/, ''))
  const dotted = [...short.slice(0, 6), bytes.slice(12).join('.')].join(':')
  const at = short.indexOf('0')
  let end = at
  while (short[end] === '0') end += 1
  const squeezed = `${short.slice(0, at).join(':')}::${short.slice(end).join(':')}`
  const forms = [full, full.toUpperCase(), short.join(':'), dotted]
  return at < 0 ? forms : [...forms, squeezed]
}

/** An address in the block, by its bytes. */
const inside = ([block]: [string, string, string]) => {
  const [base = '', bits = '0'] = block.split('/')
  const bytes = bytesOf(base)
  return fc.array(fc.nat(255), { minLength: bytes.length, maxLength: bytes.length }).map((noise) =>
    bytes.map((byte, index) => {
      const fixed = Math.min(8, Math.max(0, Number(bits) - index * 8))
      const mask = (0xff << (8 - fixed)) & 0xff
      return (byte & mask) | ((noise[index] ?? 0) & ~mask & 0xff)
    }),
  )
}

function bytesOf(base: string): number[] {
  if (!base.includes(':')) return base.split('.').map(Number)
  const [head = '', tail = ''] = base.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const zeros = Array(8 - groups(head).length - groups(tail).length).fill('0')
  return [...groups(head), ...zeros, ...groups(tail)].flatMap((group) => {
    const value = Number.parseInt(group, 16)
    return [value >> 8, value & 0xff]
  })
}

test('no address of a refused block is accepted in any form, in a URL or from a resolver', () => {
  const address = fc.oneof(...blocks.map(inside))
  fc.assert(
    fc.property(address, (bytes) => {
      const isV4 = bytes.length === 4
      for (const form of isV4 ? formsOfV4(bytes) : formsOfV6(bytes)) {
        assert.equal(check('example.com', form), false, form)
        const host = hostOf(parseRemoteUrl(`http://${isV4 ? form : `[${form}]`}/`))
        assert.equal(check(host, host), false, `${form} as ${host}`)
      }
    }),
    { numRuns: 2000 },
  )
})

test('an IPv4 address is refused in every IPv6 dress', () => {
  const v4 = fc.array(fc.nat(255), { minLength: 4, maxLength: 4 })
  fc.assert(
    fc.property(v4, (bytes) => {
      const [high, low] = [hex(bytes.slice(0, 2)), hex(bytes.slice(2))]
      const dressed = [
        ...[`::ffff:${high}:${low}`, `::${high}:${low}`, `::ffff:0:${high}:${low}`],
        ...[`64:ff9b::${high}:${low}`, `64:ff9b:1::${high}:${low}`, `2002:${high}:${low}::1`],
        ...[`2001:0:${high}:${low}::1`, `2001::${high}:${low}`],
      ]
      for (const form of dressed) assert.equal(isPublicAddress(form), false, form)
    }),
  )
})

test('what is accepted is in no block by another reader of addresses', () => {
  const address = fc.oneof(
    { weight: 2, arbitrary: fc.ipV4() },
    { weight: 1, arbitrary: fc.ipV6() },
    // Most of IPv6 is refused; so that some is accepted:
    { weight: 2, arbitrary: fc.ipV6().map((text) => text.replace(/^[^:]+/, '2001')) },
  )
  let accepted = 0
  fc.assert(
    fc.property(address, (text) => {
      if (!isPublicAddress(text)) return
      accepted += 1
      assert.equal(oracle.check(text, text.includes(':') ? 'ipv6' : 'ipv4'), false, text)
    }),
    { numRuns: 3000 },
  )
  assert.ok(accepted > 500, `${accepted}`)
})
