import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { matches, parsePattern, RESERVED_HEADERS } from '../../src/core/index.ts'
import { isProblem, type ProblemCode } from '../../src/errors.ts'
import {
  applyProfile,
  checkUnprofiled,
  type Minting,
  type Profile,
  validateProfile,
} from '../../src/keyring/profiles.ts'

// Product decisions, "Signing policy".

const CI: Profile = {
  sub: 'ci:*',
  aud: ['https://api.example'],
  claims: {
    fixed: { env: 'prod', limits: { cpu: 1, tags: ['a'] } },
    default: { role: 'reader' },
    allowed: ['job'],
  },
  header: ['cty'],
  maxTtl: 900,
}
const profile = (change: Partial<Profile>): Profile => ({ ...CI, ...change })
const claims = (change: Partial<Profile['claims']>): Profile =>
  profile({ claims: { ...CI.claims, ...change } })
const ask = (extra: Record<string, unknown> = {}, rest: Partial<Minting> = {}): Minting => ({
  claims: { sub: 'ci:1', ...extra },
  ttl: 60,
  ...rest,
})
const parsed = (json: string): Record<string, unknown> => JSON.parse(json)

const refused = (work: () => unknown, code: ProblemCode, detail = /./) =>
  assert.throws(work, (error) => isProblem(error, code) && detail.test(error.detail))

test('a token has what was asked, the sole audience, the defaults and what is fixed', () => {
  assert.deepEqual(applyProfile(CI, ask({ job: 7 })), {
    claims: {
      sub: 'ci:1',
      aud: 'https://api.example',
      role: 'reader',
      job: 7,
      env: 'prod',
      limits: { cpu: 1, tags: ['a'] },
    },
    header: {},
  })
})

test('a default can be asked for otherwise, a fixed claim only repeated', () => {
  const { claims } = applyProfile(
    CI,
    ask({ role: 'writer', env: 'prod', limits: { tags: ['a'], cpu: 1 } }),
  )
  assert.equal(claims.role, 'writer')
  assert.deepEqual(claims.limits, { cpu: 1, tags: ['a'] })
})

test('an undefined claim is an absent one', () => {
  const { claims } = applyProfile(CI, ask({ role: undefined, aud: undefined, other: undefined }))
  assert.equal(claims.role, 'reader')
  assert.equal(claims.aud, 'https://api.example')
  assert.equal(Object.hasOwn(claims, 'other'), false)
})

test('iss and typ come from the profile', () => {
  const bound = profile({ iss: 'client-1', typ: 'at+jwt' })
  for (const typ of ['at+jwt', undefined]) {
    const { iss, typ: outcome } = applyProfile(bound, ask({}, { typ }))
    assert.deepEqual([iss, outcome], ['client-1', 'at+jwt'])
  }
})

test('a listed header parameter may be set', () => {
  const { header } = applyProfile(CI, ask({}, { header: { cty: 'x' } }))
  assert.deepEqual(header, { cty: 'x' })
})

const AUDIENCES: [aud: string[], asked: unknown, outcome: unknown][] = [
  [[], undefined, undefined],
  [['a'], undefined, 'a'],
  [['a\\*'], undefined, 'a*'],
  [['a'], 'a', 'a'],
  [['a'], ['a'], ['a']],
  [['a', 'b'], 'b', 'b'],
  [
    ['a', 'b'],
    ['b', 'a'],
    ['b', 'a'],
  ],
  [
    ['a', 'svc:*'],
    ['svc:1', 'a'],
    ['svc:1', 'a'],
  ],
]

for (const [aud, asked, outcome] of AUDIENCES) {
  test(`with audiences ${JSON.stringify(aud)}, asking ${JSON.stringify(asked)} gives ${JSON.stringify(outcome)}`, () => {
    const { claims } = applyProfile(
      profile({ aud }),
      ask(asked === undefined ? {} : { aud: asked }),
    )
    assert.deepEqual(claims.aud, outcome)
    assert.equal(Object.hasOwn(claims, 'aud'), outcome !== undefined)
  })
}

const sparse: string[] = []
sparse[1] = 'a'
const FOREIGN_AUDIENCES: [aud: string[], asked: unknown][] = [
  [['a', 'b'], undefined],
  [['svc:*'], undefined],
  [['a', 'svc:*'], undefined],
  [[], 'a'],
  [[], []],
  [['*'], []],
  [['*'], ''],
  [['*'], ['']],
  [['*'], null],
  [['*'], 1],
  [['*'], ['a', 1]],
  [['*'], [['a']]],
  [['*'], { a: 'a' }],
  [['*'], sparse],
  [['a'], 'A'],
  [['a'], ['a', 'b']],
  [['a'], 'a,b'],
  [['a,b'], 'a'],
]

for (const [aud, asked] of FOREIGN_AUDIENCES) {
  test(`with audiences ${JSON.stringify(aud)}, asking ${JSON.stringify(asked)} is refused`, () => {
    const asking = ask(asked === undefined ? {} : { aud: asked })
    refused(() => applyProfile(profile({ aud }), asking), 'profile_violation', /aud/)
  })
}

for (const sub of [undefined, '', 'ci', 'CI:1', 'xci:1', 1, null, ['ci:1'], { sub: 'ci:1' }]) {
  test(`the sub ${JSON.stringify(sub)} is refused`, () => {
    refused(() => applyProfile(CI, ask({ sub })), 'profile_violation', /sub/)
  })
}

test('an inherited sub is none', () => {
  const inherited: Record<string, unknown> = Object.create({ sub: 'ci:1' })
  refused(() => applyProfile(CI, { claims: inherited, ttl: 60 }), 'profile_violation', /sub/)
})

const VIOLATIONS: [name: string, asked: Minting][] = [
  ['a claim that is not listed', ask({ admin: true })],
  ['a claim in other case', ask({ Role: 'x' })],
  ['a claim that every object inherits', ask({ constructor: 'x' })],
  ['a fixed claim with another value', ask({ env: 'test' })],
  ['a fixed claim with null', ask({ env: null })],
  ['a fixed object with one member more', ask({ limits: { cpu: 1, tags: ['a'], x: 1 } })],
  ['a fixed object with another array', ask({ limits: { cpu: 1, tags: ['a', 'b'] } })],
  ['a typ', ask({}, { typ: 'JWT' })],
  ['a header parameter that is not listed', ask({}, { header: { nonce: 'x' } })],
  ['a header parameter that every object inherits', ask({}, { header: { toString: 'x' } })],
]

for (const [name, asked] of VIOLATIONS) {
  test(`the profile refuses ${name}`, () => {
    refused(() => applyProfile(CI, asked), 'profile_violation')
  })
}

test('a typ other than the one of the profile is refused', () => {
  const asked = ask({}, { typ: 'JWT' })
  refused(() => applyProfile(profile({ typ: 'at+jwt' }), asked), 'profile_violation', /typ/)
})

test('the longest ttl is allowed and no longer one', () => {
  assert.ok(applyProfile(CI, ask({}, { ttl: 900 })))
  refused(() => applyProfile(CI, ask({}, { ttl: 900.5 })), 'ttl_too_long', /900/)
  refused(() => applyProfile(CI, ask({}, { ttl: 1e300 })), 'ttl_too_long')
})

for (const ttl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
  test(`a ttl of ${ttl} is not valid`, () => {
    refused(() => checkUnprofiled(ask({}, { ttl })), 'invalid_request', /ttl/)
    refused(() => applyProfile(CI, ask({}, { ttl })), 'invalid_request', /ttl/)
  })
}

for (const claim of ['iss', 'iat', 'nbf', 'exp', 'jti', 'EXP', 'Iss', 'iſs', 'ｅｘｐ']) {
  test(`no request can set the claim ${claim}, with a profile or without`, () => {
    for (const work of [checkUnprofiled, (asked: Minting) => applyProfile(CI, asked)]) {
      assert.throws(
        () => work(ask({ [claim]: 1 })),
        (error) => isProblem(error, 'claim_reserved') && error.extra.claim === claim,
      )
    }
  })
}

for (const name of [...RESERVED_HEADERS, 'typ', 'ALG', 'Kid', 'X5T#s256', 'jwK']) {
  test(`no request can set the header parameter ${name}, and no profile can allow it`, () => {
    const asked = ask({}, { header: { [name]: 'x' } })
    refused(() => checkUnprofiled(asked), 'invalid_request', /header/)
    refused(() => applyProfile(CI, asked), 'invalid_request', /header/)
    refused(() => validateProfile(profile({ header: [name] })), 'invalid_request', /header/)
  })
}

test('__proto__ is no claim and no header parameter', () => {
  const proto = parsed('{"sub":"ci:1","__proto__":{"admin":true}}')
  refused(() => checkUnprofiled({ claims: proto, ttl: 60 }), 'invalid_request', /__proto__/)
  refused(() => applyProfile(CI, { claims: proto, ttl: 60 }), 'invalid_request', /__proto__/)
  const header = parsed('{"__proto__":1}')
  refused(() => checkUnprofiled(ask({}, { header })), 'invalid_request', /__proto__/)
})

test('a typ that is no text is not valid, and a long name is cut where it is told', () => {
  const asked: Minting = ask({ ['x'.repeat(1000)]: 1 }, parsed('{"typ":1}'))
  refused(() => checkUnprofiled(asked), 'invalid_request', /typ/)
  const { typ: _, ...rest } = asked
  refused(() => applyProfile(CI, rest), 'profile_violation', /^.{0,120}…$/)
})

test('without a profile everything else passes', () => {
  checkUnprofiled(ask({ admin: true, aud: [1] }, { typ: 'x', header: { cty: 'y', nonce: 1 } }))
  checkUnprofiled({ claims: {}, ttl: 0.5 })
})

const INVALID: [path: string, profile: Profile][] = [
  ['body/sub', profile({ sub: '' })],
  ['body/sub', profile({ sub: '!admin' })],
  ['body/sub', profile({ sub: '(a+)+b' })],
  ['body/aud/1', profile({ aud: ['a', '+(b)'] })],
  ['body/aud/0', profile({ aud: [''] })],
  ['body/claims/fixed', claims({ fixed: { exp: 1 } })],
  ['body/claims/fixed', claims({ fixed: { sub: 'ci:1' } })],
  ['body/claims/fixed', claims({ fixed: parsed('{"__proto__":1}') })],
  ['body/claims/fixed', claims({ fixed: { role: 'x' } })],
  ['body/claims/fixed', claims({ fixed: { job: 'x' } })],
  ['body/claims/default', claims({ default: { aud: 'x' } })],
  ['body/claims/default', claims({ default: { Iat: 1 } })],
  ['body/claims/allowed', claims({ allowed: ['jti'] })],
  ['body/claims/allowed', claims({ allowed: ['Sub'] })],
  ['body/claims/allowed', claims({ allowed: ['__proto__'] })],
  ['body/header', profile({ header: ['x', 'jku'] })],
  ['body/iss', profile({ iss: '' })],
  ['body/typ', profile({ typ: '' })],
  ['body/maxTtl', profile({ maxTtl: 0 })],
  ['body/maxTtl', profile({ maxTtl: -5 })],
  ['body/maxTtl', profile({ maxTtl: 1.5 })],
  ['body/maxTtl', profile({ maxTtl: Number.NaN })],
]

for (const [path, broken] of INVALID) {
  test(`a profile is refused for its ${path}, and nothing is signed with it: ${JSON.stringify(broken)}`, () => {
    const names = (error: unknown) =>
      isProblem(error, 'invalid_request') && pathsOf(error.extra.errors).join() === path
    assert.throws(() => validateProfile(broken), names)
    assert.throws(() => applyProfile(broken, ask()), names)
  })
}

const pathsOf = (errors: unknown): unknown[] =>
  Array.isArray(errors) ? errors.map(({ path }) => path) : []

test('all faults of a profile are told at once', () => {
  const broken = profile({ sub: '', aud: ['!a'], header: ['alg'], maxTtl: 0 })
  assert.throws(
    () => validateProfile(broken),
    (error) =>
      isProblem(error, 'invalid_request') &&
      pathsOf(error.extra.errors).join() === 'body/sub,body/aud/0,body/header,body/maxTtl',
  )
})

test('a profile that is valid passes', () => {
  validateProfile(CI)
  validateProfile(profile({ iss: 'any text', typ: 'at+jwt', aud: [], header: [], sub: '*' }))
})

/** Mostly what can be right, so that many requests get through; now and then what never can. */
const mostly = <T>(usual: T[], rare: T[]): fc.Arbitrary<T> =>
  fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...rare) },
  )
const RARE_NAMES = ['__proto__', 'exp', 'Sub', 'aud', 'admin']
const fixedName = mostly(['env', 'valueOf'], [...RARE_NAMES, 'role'])
const freeName = mostly(['role', 'job', 'constructor', 'toString'], [...RARE_NAMES, 'env'])
const value = mostly<unknown>([0, 'x', { a: [1] }], [1, null, { a: [2] }])
const record = (name: fc.Arbitrary<string>, maxLength: number) =>
  fc
    .array(fc.tuple(name, value), { maxLength })
    .map((entries): Record<string, unknown> => Object.fromEntries(entries))
const text = mostly(['a', 'ab', 'a/b', '*'], ['', 'A', 'b'])
const anyPattern = mostly(['a*', '{a*,b}', '*', '[!b]*', 'a'], ['!a', '', '?', 'a\\*'])
const anyHeader = mostly(['cty', 'nonce', 'toString'], ['kid', 'typ'])

const anyProfile: fc.Arbitrary<Profile> = fc.record({
  iss: fc.constantFrom('i', undefined),
  sub: anyPattern,
  aud: fc.array(anyPattern, { maxLength: 2 }),
  claims: fc.record({
    fixed: record(fixedName, 2),
    default: record(freeName, 2),
    allowed: fc.array(freeName, { maxLength: 4 }),
  }),
  header: fc.array(anyHeader, { maxLength: 3 }),
  typ: fc.constantFrom('JWT', 'at+jwt', undefined),
  maxTtl: mostly([10, 100], [0]),
})

const anyMinting: fc.Arbitrary<Minting> = fc.record({
  claims: fc
    .record(
      {
        extra: record(fc.oneof(freeName, freeName, fixedName), 2),
        sub: fc.oneof({ weight: 9, arbitrary: text }, value),
        aud: fc.oneof(text, fc.array(text, { maxLength: 2 }), fc.array(value, { maxLength: 2 })),
      },
      { requiredKeys: ['extra', 'sub'] },
    )
    .map(({ extra, ...rest }) => ({ ...extra, ...rest })),
  ttl: mostly([1, 10], [11, 100, 101, Number.NaN, -1]),
  typ: mostly([undefined], ['JWT', 'at+jwt']),
  header: fc.oneof(
    fc.constant(undefined),
    anyHeader.map((each) => ({ [each]: 1 })),
  ),
})

const CODES: ProblemCode[] = [
  'profile_violation',
  'ttl_too_long',
  'claim_reserved',
  'invalid_request',
]

function attempt(bounds: Profile, asked: Minting) {
  try {
    return applyProfile(bounds, asked)
  } catch (error) {
    if (isProblem(error) && CODES.includes(error.code)) return undefined
    throw error
  }
}

test('nothing outside a profile gets through', () => {
  let minted = 0
  fc.assert(
    fc.property(anyProfile, fc.array(anyMinting, { minLength: 10 }), (bounds, mintings) => {
      for (const asked of mintings) {
        const outcome = attempt(bounds, asked)
        if (!outcome) continue
        minted += 1
        assertWithin(bounds, asked, outcome)
      }
    }),
    { numRuns: 2000 },
  )
  assert.ok(minted > 500, `only ${minted} requests were allowed`)
})

function assertWithin(bounds: Profile, asked: Minting, outcome: ReturnType<typeof applyProfile>) {
  const { fixed, default: defaults, allowed } = bounds.claims
  const { sub, aud, ...others } = outcome.claims
  assert.ok(asked.ttl > 0 && asked.ttl <= bounds.maxTtl)
  assert.ok(typeof sub === 'string' && sub !== '' && matches(parsePattern(bounds.sub), sub))
  assert.equal(sub, asked.claims.sub)

  const patterns = bounds.aud.map(parsePattern)
  const audiences = aud === undefined ? [] : [aud].flat()
  for (const each of audiences) {
    assert.ok(typeof each === 'string' && patterns.some((pattern) => matches(pattern, each)))
  }
  assert.equal(aud === undefined, bounds.aud.length === 0)
  if (asked.claims.aud !== undefined) assert.deepEqual(aud, asked.claims.aud)

  const permitted = [...Object.keys(fixed), ...Object.keys(defaults), ...allowed]
  for (const each of Object.keys(others)) assert.ok(permitted.includes(each), each)
  for (const [each, fixedValue] of Object.entries(fixed)) {
    assert.deepEqual(outcome.claims[each], fixedValue)
  }
  for (const each of Object.keys(defaults)) assert.ok(Object.hasOwn(outcome.claims, each))
  assert.equal(Object.getPrototypeOf(outcome.claims), Object.prototype)

  for (const each of Object.keys(outcome.header)) assert.ok(bounds.header.includes(each), each)
  assert.equal(outcome.typ, bounds.typ)
  assert.equal(outcome.iss, bounds.iss)
}
