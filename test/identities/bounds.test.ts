import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import {
  type BoundsConfig,
  boundsFaults,
  boundsWeight,
  checkBounds,
  type Denial,
  isUnbounded,
  MAX_ENTRIES,
  MAX_SIZE,
  normaliseList,
  parseBounds,
} from '../../src/identities/bounds.ts'
import { problemOf } from '../core/fixtures.ts'

// Identity contract, sections 6 and 7.

const configOf = (over: Partial<BoundsConfig> = {}): BoundsConfig => ({
  ...{ boundIssuer: '', boundSubject: '', boundAudiences: '', boundClaims: {} },
  ...over,
})

const NORMALISED: [input: string, normalised: string][] = [
  ['red,green ,, blue', 'red, green, blue'],
  ['team-{x,y},ops', 'team-{x,y}, ops'],
  ['{p,{q,r}}', '{p,{q,r}}'],
  ['a, {b, c', 'a, {b, c'],
  [' , ,', ''],
  ['\\{a,b}', '\\{a, b}'],
  ['\\\\{a,b}', '\\\\{a,b}'],
]

for (const [input, normalised] of NORMALISED) {
  test(`section 6, list normalisation: ${JSON.stringify(input)}`, () => {
    assert.equal(normaliseList(input), normalised)
  })
}

test('section 6, list normalisation: a brace without a partner makes three entries', () => {
  const { audience } = parseBounds(configOf({ boundAudiences: 'a, {b, c' }))
  assert.deepEqual(
    audience?.entries.map(({ pattern }) => pattern.text),
    ['a', '{b', 'c'],
  )
})

const textOf = (alphabet: string) =>
  fc.array(fc.constantFrom(...alphabet), { maxLength: 24 }).map((chars) => chars.join(''))

test('section 6, list normalisation: twice is once', () => {
  fc.assert(
    fc.property(textOf('a{},\\ !*'), (text) => {
      assert.equal(normaliseList(normaliseList(text)), normaliseList(text))
    }),
    { numRuns: 2000 },
  )
})

// Section 7, steps 6 to 9 ------------------------------------------------------------------------------

const DENIALS: [
  bound: Partial<BoundsConfig>,
  passes: Record<string, unknown>[],
  denied: [claims: Record<string, unknown>, denial: Denial][],
][] = [
  [
    { boundIssuer: 'https://i.example' },
    [{ iss: 'https://i.example' }],
    [
      [{}, 'issuer_mismatch'],
      [{ iss: '' }, 'issuer_mismatch'],
      [{ iss: 'https://i.example/' }, 'issuer_mismatch'],
      [{ iss: 'HTTPS://i.example' }, 'issuer_mismatch'],
      [{ iss: ['https://i.example'] }, 'issuer_mismatch'],
    ],
  ],
  [
    // No pattern: equal, character by character.
    { boundIssuer: 'https://*' },
    [{ iss: 'https://*' }],
    [[{ iss: 'https://i.example' }, 'issuer_mismatch']],
  ],
  [
    { boundSubject: 'svc:*' },
    [{ sub: 'svc:a' }, { sub: 'svc:' }, { sub: 'svc:a/b' }],
    [
      [{}, 'missing_subject'],
      [{ sub: '' }, 'missing_subject'],
      [{ sub: [] }, 'missing_subject'],
      [{ sub: 'svc' }, 'subject_not_allowed'],
      [{ sub: null }, 'subject_not_allowed'],
      [{ sub: ['svc:a'] }, 'subject_not_allowed'],
      [{ sub: { a: 'svc:a' } }, 'subject_not_allowed'],
    ],
  ],
  [
    // A single pattern, never split.
    { boundSubject: 'a, b' },
    [{ sub: 'a, b' }],
    [
      [{ sub: 'a' }, 'subject_not_allowed'],
      [{ sub: 'b' }, 'subject_not_allowed'],
    ],
  ],
  [{ boundSubject: '42' }, [{ sub: '42' }], [[{ sub: 42 }, 'subject_not_allowed']]],
  [
    { boundAudiences: 'api://a, api://b*' },
    [{ aud: 'api://a' }, { aud: ['x', 'api://bc'] }, { aud: ['api://a', 'api://a'] }],
    [
      [{}, 'missing_audience'],
      [{ aud: '' }, 'missing_audience'],
      [{ aud: [] }, 'missing_audience'],
      [{ aud: 'x' }, 'audience_not_allowed'],
      [{ aud: ['x', 'y'] }, 'audience_not_allowed'],
      [{ aud: 'api://a, api://b' }, 'audience_not_allowed'],
      [{ aud: null }, 'audience_not_allowed'],
      [{ aud: { a: 'api://a' } }, 'audience_not_allowed'],
      [{ aud: ['api://a', 5] }, 'audience_not_allowed'],
      [{ aud: [['api://a']] }, 'audience_not_allowed'],
    ],
  ],
  [
    { boundAudiences: '7, true, *' },
    [{ aud: '7' }, { aud: 'x' }],
    [
      [{ aud: 7 }, 'audience_not_allowed'],
      [{ aud: true }, 'audience_not_allowed'],
      [{ aud: [''] }, 'audience_not_allowed'],
    ],
  ],
  [
    { boundClaims: { env: 'prod, dev*' } },
    [{ env: 'prod' }, { env: 'dev-1' }, { env: ['x', 'prod'] }],
    [
      [{}, 'missing_claim'],
      [{ env: '' }, 'missing_claim'],
      [{ env: [] }, 'missing_claim'],
      [{ env: 'PROD' }, 'claim_mismatch'],
      [{ env: null }, 'claim_mismatch'],
      [{ env: {} }, 'claim_mismatch'],
      [{ env: ['x'] }, 'claim_mismatch'],
    ],
  ],
  [
    { boundClaims: { admin: 'false', count: '0' } },
    [{ admin: false, count: 0 }],
    [[{ admin: true, count: 0 }, 'claim_mismatch']],
  ],
  [
    { boundClaims: { 'kubernetes.io.namespace': 'ci' } },
    [{ 'kubernetes.io': { namespace: 'ci' } }, { kubernetes: { io: { namespace: 'ci' } } }],
    [[{ 'kubernetes.io': {}, kubernetes: { io: { namespace: 'ci' } } }, 'missing_claim']],
  ],
  [
    { boundClaims: { toString: '*', 'constructor.name': '*' } },
    [{ toString: 'x', constructor: { name: 'y' } }],
    [[{}, 'missing_claim']],
  ],
]

const firstDenial = (bound: Partial<BoundsConfig>, claims: Record<string, unknown>) =>
  checkBounds(parseBounds(configOf(bound)), claims).find(({ ok }) => !ok)?.denial

for (const [bound, passes, denied] of DENIALS) {
  test(`section 7, denials: ${JSON.stringify(bound)}`, () => {
    for (const claims of passes) {
      assert.equal(firstDenial(bound, claims), undefined, JSON.stringify(claims))
    }
    for (const [claims, denial] of denied) {
      assert.equal(firstDenial(bound, claims), denial, JSON.stringify(claims))
    }
  })
}

const FULL = configOf({
  boundIssuer: 'https://i.example',
  boundSubject: 'svc:*',
  boundAudiences: 'api://a, api://b',
  boundClaims: { env: 'prod', 'team.name': 'x, y' },
})
const FITTING = {
  ...{ iss: 'https://i.example', sub: 'svc:1', aud: ['api://b'] },
  ...{ env: 'prod', team: { name: 'y' }, other: 1 },
}

test('section 7, steps 6 to 9: every check is there, in order, with its rule', () => {
  assert.deepEqual(checkBounds(parseBounds(FULL), FITTING), [
    { name: 'issuer', rule: 'https://i.example', ok: true },
    { name: 'subject', rule: 'svc:*', ok: true },
    { name: 'audience', rule: 'api://a, api://b', ok: true },
    { name: 'claim', path: 'env', rule: 'prod', ok: true },
    { name: 'claim', path: 'team.name', rule: 'x, y', ok: true },
  ])
})

test('section 7, steps 6 to 9: the checks after a failure are made too', () => {
  const checks = checkBounds(parseBounds(FULL), { iss: 'x', env: 'dev' })
  assert.deepEqual(
    checks.map(({ ok, denial }) => [ok, denial]),
    [
      [false, 'issuer_mismatch'],
      [false, 'missing_subject'],
      [false, 'missing_audience'],
      [false, 'claim_mismatch'],
      [false, 'missing_claim'],
    ],
  )
})

test('section 2: what is "" or {} is not checked', () => {
  assert.deepEqual(checkBounds(parseBounds(configOf()), {}), [])
  assert.deepEqual(checkBounds(parseBounds(configOf({ boundAudiences: ' , ,' })), {}), [])
})

test('a token that fails one bound fails, whatever else it says', () => {
  const spoil = fc.constantFrom('iss', 'sub', 'aud', 'env', 'team')
  const bad = fc.constantFrom<unknown>(undefined, '', [], null, {}, 0, false, 'other', ['other'])
  fc.assert(
    fc.property(spoil, bad, (name, value) => {
      const checks = checkBounds(parseBounds(FULL), { ...FITTING, [name]: value })
      assert.equal(checks.filter(({ ok }) => !ok).length, 1)
    }),
  )
})

test('members that claims inherit are not theirs', () => {
  const claims: Record<string, unknown> = Object.create(FITTING)
  assert.ok(checkBounds(parseBounds(FULL), claims).every(({ ok }) => !ok))
})

test('bounds on subject, audience or claims bound; an issuer alone does not', () => {
  const unbounded = (over: Partial<BoundsConfig>) => isUnbounded(parseBounds(configOf(over)))
  assert.equal(unbounded({}), true)
  assert.equal(unbounded({ boundIssuer: 'https://i.example' }), true)
  assert.equal(unbounded({ boundAudiences: ', ,' }), true)
  assert.equal(unbounded({ boundSubject: 'a' }), false)
  assert.equal(unbounded({ boundAudiences: 'a' }), false)
  assert.equal(unbounded({ boundClaims: { a: 'b' } }), false)
})

// Refused on write -------------------------------------------------------------------------------------

const PATTERNS = ['!a', '!(a)', '+(a)', 'x@(a|b)', '?(a)', '*(a)', '(a+)+b', 'a'.repeat(1025)]

for (const text of PATTERNS) {
  test(`section 6: ${text.slice(0, 12)} (${text.length}) is refused, with the path of its field`, () => {
    const paths = (config: Partial<BoundsConfig>) =>
      boundsFaults(config).map(({ code, path }) => [code, path])
    assert.deepEqual(paths({ boundSubject: text }), [['custom', ['boundSubject']]])
    assert.deepEqual(paths({ boundAudiences: `ok, ${text}` }), [['custom', ['boundAudiences']]])
    assert.deepEqual(paths({ boundClaims: { good: 'x', 'bad.one': text } }), [
      ['custom', ['boundClaims', 'bad.one']],
    ])
    // An issuer is no pattern.
    assert.deepEqual(paths({ boundIssuer: text }), [])
  })
}

test('section 2: a claim without entries is refused, and so is the name that is never read', () => {
  const boundClaims = JSON.parse('{"a":"", "b":" , ", "c":"x", "__proto__":"y"}')
  assert.deepEqual(boundsFaults({ boundClaims }), [
    { code: 'custom', path: ['boundClaims', 'a'], message: 'Expected an entry at least' },
    { code: 'custom', path: ['boundClaims', 'b'], message: 'Expected an entry at least' },
    {
      code: 'custom',
      path: ['boundClaims', '__proto__'],
      message: 'No claim of this name is ever read',
    },
  ])
})

test('every fault is found, in the order of the fields, and a Problem carries them all', () => {
  const config = configOf({
    boundSubject: '!s',
    boundAudiences: '!a, b, (c)',
    boundClaims: { x: '', y: '!z' },
  })
  const faults = boundsFaults(config)
  assert.deepEqual(
    faults.map(({ path }) => path.join('/')),
    ['boundSubject', 'boundAudiences', 'boundAudiences', 'boundClaims/x', 'boundClaims/y'],
  )
  const problem = problemOf(() => parseBounds(config))
  assert.equal(problem.code, 'invalid_request')
  assert.deepEqual(problem.extra, { errors: faults })
  assert.match(problem.detail, /^boundSubject: /)
})

test('what fails for another reason than the text is not taken for a refusal', () => {
  assert.throws(() => parseBounds(configOf({ boundSubject: 5 as never })), TypeError)
})

const entries = (count: number) => Array.from({ length: count }, (_, i) => `e${i}`).join(', ')

test(`at most ${MAX_ENTRIES} entries in all bounds together`, () => {
  const half = entries(MAX_ENTRIES / 2)
  const less = entries(MAX_ENTRIES / 2 - 1)
  const full = { boundSubject: 's', boundAudiences: less, boundClaims: { a: half } }
  assert.deepEqual(boundsFaults(full), [])
  const over = { boundSubject: 's', boundAudiences: half, boundClaims: { a: half, b: 'x' } }
  assert.deepEqual(
    boundsFaults(over).map(({ path, message }) => [path, message]),
    [[['boundClaims', 'a'], `At most ${MAX_ENTRIES} entries in all bounds together`]],
  )
})

test(`at most ${MAX_SIZE} characters in all bounds together`, () => {
  const half = 'i'.repeat(MAX_SIZE / 2)
  const config = { boundIssuer: half, boundSubject: 's', boundClaims: { [half.slice(2)]: 'v' } }
  assert.deepEqual(boundsFaults(config), [])
  for (const over of [
    { boundSubject: 'ss' },
    { boundAudiences: 'a' },
    { boundIssuer: `${half}i` },
  ]) {
    assert.deepEqual(
      boundsFaults({ ...config, ...over }).map(({ message }) => message),
      [`At most ${MAX_SIZE} characters in all bounds together`],
    )
  }
})

test('what compiled bounds take is no more than they are said to weigh', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const COPIES = 100
  const pieces = ['x', '[a-z]', '[a]', '{,}', '?', '*a', 'é', '\\x', '🔑']
  const subjects = [
    ...pieces.map((piece) => piece.repeat(Math.floor(1000 / [...piece].length))),
    `[${'ab'.repeat(499)}]`,
    `{${','.repeat(998)}}`,
  ]
  const configs = [
    ...subjects.map((boundSubject) => configOf({ boundSubject })),
    configOf({ boundAudiences: Array(256).fill('a').join(', ') }),
    configOf({ boundClaims: Object.fromEntries(subjects.slice(0, 8).map((one) => [one, one])) }),
  ]
  for (const config of configs) {
    const kept: unknown[] = []
    collect()
    const before = process.memoryUsage().heapUsed
    for (let at = 0; at < COPIES; at++) kept.push(parseBounds(config))
    collect()
    const each = (process.memoryUsage().heapUsed - before) / kept.length
    assert.ok(each <= boundsWeight(config), `${JSON.stringify(config).slice(0, 80)}: ${each}`)
  }
})

test('any configuration is compiled or refused; nothing else is thrown', () => {
  const text = textOf('ab*?{},[]!^-\\() ')
  fc.assert(
    fc.property(
      text,
      text,
      fc.dictionary(text, text, { maxKeys: 3 }),
      (subject, audiences, claims) => {
        const config = configOf({
          ...{ boundSubject: subject, boundAudiences: audiences, boundClaims: claims },
        })
        if (boundsFaults(config).length > 0) {
          assert.equal(problemOf(() => parseBounds(config)).code, 'invalid_request')
        } else {
          assert.ok(parseBounds(config).claims.every((bound) => bound.entries.length > 0))
        }
      },
    ),
    { numRuns: 1000 },
  )
})
