import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  CAPABILITIES,
  CAPABILITY_NAMES,
  type Capability,
  isCapability,
  isRole,
  ROLE_NAMES,
  ROLES,
  type Role,
} from '../../src/access/capabilities.ts'
import {
  contains,
  covers,
  formatGrant,
  type Grant,
  grantsOf,
  mayWith,
  missing,
  parseGrant,
} from '../../src/access/grants.ts'
import { system } from '../../src/context.ts'

const parsed = (text: string): Grant => {
  const grant = parseGrant(text)
  assert.ok(typeof grant !== 'string', `${text}: ${grant}`)
  return grant
}

// Few names, so that grants meet.
const name = fc.constantFrom('a', 'b', 'a.b', 'A')
const capability = fc.constantFrom(...CAPABILITY_NAMES)
const resource = fc.oneof(
  fc.constant(undefined),
  name.map((ring) => ({ ring })),
  fc.record({ ring: name, profile: name }, { noNullPrototype: true }),
  fc.constantFrom('a', 'b', 'A').map((deliveryService) => ({ deliveryService })),
)
const grant = fc
  .record({ capability: fc.oneof(capability, fc.constant('sign' as const)), resource })
  .map(({ capability, resource }): Grant => (resource ? { capability, resource } : { capability }))

test('what a grant covers it covers for good: reflexive, transitive, and no wider than its text', () => {
  fc.assert(
    fc.property(grant, grant, grant, (a, b, c) => {
      assert.ok(covers(a, a))
      if (covers(a, b) && covers(b, c)) assert.ok(covers(a, c))
      if (covers(a, b) && covers(b, a)) assert.equal(formatGrant(a), formatGrant(b))
      if (covers(a, b)) {
        assert.equal(a.capability, b.capability)
        assert.ok(formatGrant(a).length <= formatGrant(b).length + 'profile'.length)
        const [on, asked] = [a.resource, b.resource]
        if (on && 'ring' in on && on.profile === undefined) {
          assert.equal(on.ring, asked && 'ring' in asked ? asked.ring : undefined)
        } else if (on) {
          assert.deepEqual(on, asked)
        }
      }
    }),
    { numRuns: 2000 },
  )
})

test('more grants never take anything away, and none gives nothing', () => {
  fc.assert(
    fc.property(fc.array(grant), fc.array(grant), grant, (some, more, { capability, resource }) => {
      if (mayWith(some)(capability, resource)) {
        assert.ok(mayWith([...some, ...more])(capability, resource))
      }
      assert.ok(!mayWith([])(capability, resource))
    }),
  )
})

test('a grant is read back as it was written', () => {
  fc.assert(
    fc.property(grant, (written) => {
      const read = parseGrant(formatGrant(written))
      if (typeof read === 'string') {
        assert.match(read, /cannot be limited|sign needs/)
      } else {
        assert.deepEqual(read, written)
      }
    }),
  )
})

test('coverage by example', () => {
  const table: [held: string, wanted: string, covered: boolean][] = [
    ['keyring-rotate', 'keyring-rotate', true],
    ['keyring-rotate', 'keyring-rotate@ring:a', true],
    ['keyring-rotate@ring:a', 'keyring-rotate', false],
    ['keyring-rotate@ring:a', 'keyring-rotate@ring:b', false],
    ['keyring-rotate@ring:a', 'keyring-rotate@ring:A', false],
    ['keyring-rotate', 'keyring-read', false],
    ['sign@ring:a', 'sign@ring:a', true],
    ['sign@ring:a', 'sign@profile:a/ci', true],
    ['sign@ring:a', 'sign@profile:b/ci', false],
    ['sign@profile:a/ci', 'sign@profile:a/ci', true],
    ['sign@profile:a/ci', 'sign@profile:a/cd', false],
    ['sign@profile:a/ci', 'sign@ring:a', false],
    ['DS-SECURITY-KEY:READ', 'DS-SECURITY-KEY:READ@delivery-service:a', true],
    ['DS-SECURITY-KEY:READ@delivery-service:a', 'DS-SECURITY-KEY:READ@delivery-service:a', true],
    ['DS-SECURITY-KEY:READ@delivery-service:a', 'DS-SECURITY-KEY:READ@delivery-service:A', false],
    ['DS-SECURITY-KEY:READ@delivery-service:a', 'DS-SECURITY-KEY:READ', false],
    ['DS-SECURITY-KEY:READ@delivery-service:a', 'DS-SECURITY-KEY:UPDATE@delivery-service:a', false],
  ]
  for (const [held, wanted, covered] of table) {
    assert.equal(covers(parsed(held), parsed(wanted)), covered, `${held} ▸ ${wanted}`)
  }
  assert.ok(!covers(parsed('sign@ring:a'), { capability: 'sign' }))
  assert.ok(covers({ capability: 'sign' }, parsed('sign@profile:a/ci')))
})

test('what is no grant is refused with the reason', () => {
  const table: [string, RegExp][] = [
    ['', /^Expected capability/],
    ['sign', /only the role admin/],
    ['sing@ring:a', /no capability sing$/],
    ['constructor', /no capability/],
    ['Sign@ring:a', /no capability/],
    ['keyring-read@profile:a/ci', /keyring-read cannot be limited to a profile/],
    ['settings@ring:a', /settings cannot be limited to a ring/],
    ['identity:read@ring:a', /cannot be limited/],
    ['sign@delivery-service:a', /sign cannot be limited to a delivery service/],
    ['DS-SECURITY-KEY:READ@ring:a', /cannot be limited to a ring/],
    ['DS-SECURITY-KEY:READ@delivery-service:', /^Expected/],
    ['DS-SECURITY-KEY:READ@delivery-service:a.b', /^Expected/],
    ['DS-SECURITY-KEY:READ@delivery-service:a/b', /^Expected/],
    [`DS-SECURITY-KEY:READ@delivery-service:${'a'.repeat(49)}`, /^Expected/],
    ['sign@ring:', /^Expected/],
    ['sign@ring:.a', /^Expected/],
    ['sign@ring:a/ci', /^Expected/],
    ['sign@profile:a', /^Expected/],
    ['sign@profile:a/b/c', /^Expected/],
    [`sign@ring:${'a'.repeat(65)}`, /^Expected/],
    ['sign@ring:a\n', /^Expected/],
    [' sign@ring:a', /no capability/],
    ['sign@ring:a@ring:b', /^Expected/],
    ['sign@user:a', /^Expected/],
    ['*', /no capability/],
  ]
  for (const [text, reason] of table) assert.match(String(parseGrant(text)), reason, text)
  fc.assert(
    fc.property(fc.string(), (text) => {
      const grant = parseGrant(text)
      assert.ok(typeof grant === 'string' || formatGrant(grant) === text)
    }),
  )
})

test('roles by table', () => {
  const cells: Record<Role, readonly string[]> = {
    admin: CAPABILITY_NAMES,
    operator: [
      ...['keyring-read', 'keyring-rotate', 'keyring-delete', 'keyring-revoke'],
      ...['verify', 'settings'],
    ],
    'identity-admin': [
      ...['identity:read', 'identity:create', 'identity:edit', 'identity:delete'],
      ...['identity:edit-auth', 'identity:revoke-auth', 'identity:create-token'],
    ],
    'cdn-admin': [
      ...['DS-SECURITY-KEY:READ', 'DS-SECURITY-KEY:CREATE', 'DS-SECURITY-KEY:UPDATE'],
      ...['DS-SECURITY-KEY:DELETE', 'DELIVERY-SERVICE:READ', 'DELIVERY-SERVICE:UPDATE'],
    ],
    'security-admin': ['external-security', 'data-api-admin'],
    member: ['keyring-read', 'identity:read', 'DELIVERY-SERVICE:READ'],
    'no-access': [],
  }
  assert.deepEqual([...ROLE_NAMES].sort(), Object.keys(cells).sort())
  for (const role of ROLE_NAMES) {
    const may = mayWith(grantsOf(role, []))
    const held = CAPABILITY_NAMES.filter((capability) => may(capability))
    assert.deepEqual([...held].sort(), [...cells[role]].sort(), role)
  }
})

test('only admin signs, exports, backs up, reads the audit record or manages access', () => {
  for (const capability of ['sign', 'key-export', 'backup', 'audit-read', 'access-manage']) {
    const holders = ROLE_NAMES.filter((role) => ROLES[role].some((held) => held === capability))
    assert.deepEqual(holders, ['admin'], capability)
  }
})

test('names that every object has are no capability, no role', () => {
  for (const odd of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
    assert.ok(!isCapability(odd) && !isRole(odd))
    assert.ok(!mayWith(grantsOf('admin', []))(odd))
  }
})

test('the privilege boundary names what is missing', () => {
  const caller = { ...system, may: mayWith(grantsOf('operator', [parsed('sign@ring:a')])) }
  const lacking = (role: Role | undefined, ...grants: string[]) =>
    missing(caller, grantsOf(role, grants.map(parsed)))
  assert.deepEqual(lacking(undefined), [])
  assert.deepEqual(lacking('operator', 'sign@profile:a/ci', 'verify@ring:b'), [])
  assert.deepEqual(lacking('member', 'sign@ring:b'), [
    ...['identity:read', 'DELIVERY-SERVICE:READ', 'sign@ring:b'],
  ])
  const admin = lacking('admin')
  assert.ok(admin.includes('sign') && admin.includes('backup'))
  assert.equal(admin.length, CAPABILITY_NAMES.length - ROLES.operator.length)
})

test('whoever passes the boundary can do nothing afterwards that he could not before', () => {
  const role = fc.option(fc.constantFrom(...ROLE_NAMES), { nil: undefined })
  fc.assert(
    fc.property(
      ...([role, fc.array(grant), role, fc.array(grant), capability, resource] as const),
      (ownRole, own, newRole, fresh, capability, resource) => {
        const caller = { ...system, may: mayWith(grantsOf(ownRole, own)) }
        const made = grantsOf(newRole, fresh)
        if (missing(caller, made).length > 0) return
        if (mayWith(made)(capability, resource)) assert.ok(caller.may(capability, resource))
      },
    ),
    { numRuns: 2000 },
  )
})

test('a tenant contains itself and what is below it; no tenant is all of them', () => {
  const tenants = new Map([
    ['root', undefined],
    ['east', 'root'],
    ['shop', 'east'],
    ['west', 'root'],
  ])
  const table: [outer: string | undefined, inner: string | undefined, expected: boolean][] = [
    [undefined, undefined, true],
    [undefined, 'shop', true],
    ['root', undefined, true],
    ['root', 'shop', true],
    ['east', 'east', true],
    ['east', 'shop', true],
    ['east', 'root', false],
    ['east', 'west', false],
    ['east', undefined, false],
    ['shop', 'east', false],
    ['east', 'nowhere', false],
  ]
  for (const [outer, inner, expected] of table) {
    assert.equal(contains(tenants, outer, inner), expected, `${outer} ▸ ${inner}`)
  }
  const loop = new Map([
    ['a', 'b'],
    ['b', 'a'],
  ])
  assert.equal(contains(loop, 'c', 'a'), false, 'a broken tree ends too')
})

test('every capability has a scope, and only sign knows profiles', () => {
  const scoped = (Object.entries(CAPABILITIES) as [Capability, string][]).filter(
    ([, scope]) => scope === 'profile',
  )
  assert.deepEqual(scoped, [['sign', 'profile']])
})
