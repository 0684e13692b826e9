import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressKey } from '../../src/http/address.ts'

test('an IPv4 address is one caller, and so is the /64 of an IPv6 one', () => {
  const same = [
    ['192.0.2.7', '::ffff:192.0.2.7', '::ffff:c000:207'],
    ['2001:db8:1:2::1', '2001:db8:1:2:ffff::', '2001:0DB8:0001:0002:a:b:c:d'],
    ['fe80::1', 'fe80::2%eth0'],
  ]
  for (const callers of same) {
    assert.equal(new Set(callers.map(addressKey)).size, 1, String(callers))
  }
  const all = [...same.flatMap(([one = '']) => one), '192.0.2.8', '2001:db8:1:3::1', '2001:db8::1']
  assert.equal(new Set(all.map(addressKey)).size, all.length)
  assert.equal(addressKey('no address'), 'no address')
})
