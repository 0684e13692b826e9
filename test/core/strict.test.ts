import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isBase64url, parseJsonStrict, screenCompact, signCompact } from '../../src/core/index.ts'
import { detailOf, encode, pairOf, problemOf } from './fixtures.ts'

const token = (header: unknown, payload: unknown = {}, signature: unknown = 'signature') =>
  `${encode(header)}.${encode(payload)}.${encode(signature)}`
const good = token({ alg: 'ES256', kid: 'k', typ: 'JWT' }, { sub: 'a' })
const refusal = (text: unknown) => detailOf(() => screenCompact(text as string))

test('a well-formed token is taken apart', () => {
  const { header, payload, signature, signingInput, token: same } = screenCompact(good)
  assert.deepEqual(header, { alg: 'ES256', kid: 'k', typ: 'JWT' })
  assert.equal(Buffer.from(payload).toString(), '{"sub":"a"}')
  assert.equal(Buffer.from(signature).toString(), 'signature')
  assert.equal(`${signingInput}.${encode('signature')}`, good)
  assert.equal(same, good)
})

test('a refusal is always token_malformed', () => {
  assert.equal(problemOf(() => screenCompact('a.b')).code, 'token_malformed')
})

test('an empty payload and an empty signature are well-formed', () => {
  assert.equal(screenCompact(`${encode({ alg: 'ES256' })}..`).payload.length, 0)
})

test('keys that a token brings along stay in the header and hurt nobody', () => {
  const embedded = { jwk: { kty: 'oct', k: 'AA' }, jku: 'http://x', x5u: 'x', x5c: ['x'], x5t: 'x' }
  assert.deepEqual(screenCompact(token({ alg: 'ES256', ...embedded })).header, {
    alg: 'ES256',
    ...embedded,
  })
})

const SEGMENTS = 'The token does not have exactly three segments'
const tokens: [string, unknown, string][] = [
  ['a number', 5, 'The token is not text'],
  ['nothing', undefined, 'The token is not text'],
  ['the empty string', '', SEGMENTS],
  ['one segment', encode({ alg: 'ES256' }), SEGMENTS],
  ['two segments', good.slice(0, good.lastIndexOf('.')), SEGMENTS],
  ['a fourth segment', `${good}.YQ`, SEGMENTS],
  ['an empty fourth segment', `${good}.`, SEGMENTS],
  ['a million dots', '.'.repeat(16_000), SEGMENTS],
  ['padding in the header', good.replace('.', '=.'), 'The header is not exact base64url'],
  [
    'standard base64',
    `${encode({ alg: 'ES256' })}.-_-_.+/+/`,
    'The signature is not exact base64url',
  ],
  ['bits left over', `${encode({ alg: 'ES256' })}.YR.AA`, 'The payload is not exact base64url'],
  [
    'a length that cannot be',
    `${encode({ alg: 'ES256' })}.AAAAA.AA`,
    'The payload is not exact base64url',
  ],
  ['an empty header', '.e30.AA', 'The JSON text is not valid'],
  ['a header that is an array', token([]), 'The header is not a JSON object'],
  ['a header that is null', token(null), 'The header is not a JSON object'],
  ['a header that is text', token('"alg"'), 'The header is not a JSON object'],
  ['no alg', token({ kid: 'k' }), 'The header has no alg'],
  ['an alg that is a list', token({ alg: ['ES256'] }), 'The header has no alg'],
  ['an alg in the prototype', token('{"__proto__":{"alg":"ES256"}}'), 'The header has no alg'],
  ['none', token({ alg: 'none' }), 'The alg is not supported'],
  ['nOnE', token({ alg: 'nOnE' }), 'The alg is not supported'],
  ['HS256', token({ alg: 'HS256' }), 'The alg is not supported'],
  ['an alg of Object', token({ alg: 'hasOwnProperty' }), 'The alg is not supported'],
  ['crit', token({ alg: 'ES256', crit: ['exp'] }), 'The header has crit'],
  ['an empty crit', token({ alg: 'ES256', crit: [] }), 'The header has crit'],
  ['a crit of null', token({ alg: 'ES256', crit: null }), 'The header has crit'],
  ['b64, even true', token({ alg: 'ES256', b64: true }), 'The header has b64'],
  ['zip', token({ alg: 'ES256', zip: 'DEF' }), 'The header has zip'],
  ['a kid that is a number', token({ alg: 'ES256', kid: 7 }), 'The kid is not a string'],
  ['a kid of null', token({ alg: 'ES256', kid: null }), 'The kid is not a string'],
  ['a long kid', token({ alg: 'ES256', kid: 'k'.repeat(513) }), 'The kid is too long'],
  ['a typ that is an object', token({ alg: 'ES256', typ: {} }), 'The typ is not a string'],
  ['two alg', token('{"alg":"ES256","alg":"none"}'), 'The JSON text has a duplicate member'],
  [
    'two alg, one escaped',
    token('{"alg":"ES256","\\u0061lg":"none"}'),
    'The JSON text has a duplicate member',
  ],
  [
    'a deep header',
    token(`{"alg":"ES256","a":${'['.repeat(8)}${']'.repeat(8)}}`),
    'The JSON text is nested too deeply',
  ],
  ['a large header', token({ alg: 'ES256', x: 'x'.repeat(8192) }), 'The header is too large'],
  ['a large token', token({ alg: 'ES256' }, 'x'.repeat(16384)), 'The token is too large'],
  ['a byte-order mark', token('\uFEFF{"alg":"ES256"}'), 'The JSON text is not valid'],
]

for (const [name, text, reason] of tokens) {
  test(`refused: ${name}`, () => assert.equal(refusal(text), reason))
}

test('a header that is not UTF-8 is refused', () => {
  const header = Buffer.from('{"alg":"ES256","kid":"\xff"}', 'latin1').toString('base64url')
  assert.equal(refusal(`${header}.e30.AA`), 'The JSON text is not valid UTF-8')
})

test('a kid of 512 characters and a header eight deep are the last that pass', () => {
  assert.ok(screenCompact(token({ alg: 'ES256', kid: 'k'.repeat(512) })))
  assert.ok(screenCompact(token(`{"alg":"ES256","a":${'['.repeat(7)}${']'.repeat(7)}}`)))
})

test('limits are parameters, and exact', () => {
  const length = good.length
  assert.ok(screenCompact(good, { maxTokenSize: length }))
  const larger = detailOf(() => screenCompact(good, { maxTokenSize: length - 1 }))
  assert.equal(larger, 'The token is too large')
  const header = detailOf(() => screenCompact(good, { maxHeaderSize: 10 }))
  assert.equal(header, 'The header is too large')
})

test('one character more, anywhere, and a token is refused', () => {
  const intruders = [' ', '\t', '\n', '\r', '=', '.', '+', '/', '%', '\0', 'é', '\u2028', '"']
  for (const intruder of intruders) {
    for (let at = 0; at <= good.length; at += 1) {
      const text = good.slice(0, at) + intruder + good.slice(at)
      assert.throws(() => screenCompact(text), { code: 'token_malformed' }, JSON.stringify(text))
    }
  }
})

test('whatever bytes come, the answer is a token or token_malformed', () => {
  const segment = fc.oneof(
    fc.string(),
    fc.json().map(encode),
    fc.constant(encode({ alg: 'ES256' })),
  )
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 5 }), (segments) => {
      try {
        const { header } = screenCompact(segments.join('.'))
        return header.alg === 'ES256'
      } catch (error) {
        return (error as { code?: string }).code === 'token_malformed'
      }
    }),
    { numRuns: 2000 },
  )
})

const jsonObjects = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 }), { maxKeys: 8 })

test('anything that we sign passes the screen', async () => {
  const { signing } = await pairOf('EdDSA')
  await fc.assert(
    fc.asyncProperty(
      jsonObjects,
      fc.option(fc.string(), { nil: undefined }),
      async (claims, typ) => {
        const screened = screenCompact(await signCompact(signing, { typ }, claims))
        assert.equal(screened.header.kid, 'EdDSA-1')
        assert.deepEqual(parseJsonStrict(screened.payload), JSON.parse(JSON.stringify(claims)))
      },
    ),
  )
})

test('strict JSON reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), (text) => {
      assert.deepEqual(parseJsonStrict(text), JSON.parse(text))
      assert.deepEqual(parseJsonStrict(Buffer.from(text)), JSON.parse(text))
    }),
  )
  for (const text of ['1', '"a\\"b"', 'null', ' { "a" : [ { } , { "a" : { "a" : "}" } } ] } ']) {
    assert.deepEqual(parseJsonStrict(text), JSON.parse(text))
  }
})

test('a member that is repeated at any depth is refused, one in another object is not', () => {
  const duplicate = 'The JSON text has a duplicate member'
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":{"b":1,"c":[],"b":2}}',
    '[{"x":"\\"","a":[],"a":{}}]',
    '{"a":{"a":1},"a":2}',
    '{"":1,"":2}',
    '{"\\u0061":1,"a":2}',
    '{"__proto__":1,"__proto__":2}',
    '{"a":[1,"a",{"a":1}],"b":"a","a":0}',
  ]) {
    assert.equal(
      detailOf(() => parseJsonStrict(text)),
      duplicate,
      text,
    )
  }
  for (const text of [
    '{"a":{"a":{"a":1}}}',
    '[{"a":1},{"a":1}]',
    '{"a":"a","b":["a","a"]}',
    '{"a":1,"A":2}',
  ]) {
    assert.ok(parseJsonStrict(text), text)
  }
})

test('any object with one member repeated is refused', () => {
  const pairs = fc.uniqueArray(fc.tuple(fc.string(), fc.json()), {
    selector: ([name]) => name,
    minLength: 1,
  })
  fc.assert(
    fc.property(pairs, fc.nat(), fc.nat(), (members, from, to) => {
      const texts = members.map(([name, value]) => `${JSON.stringify(name)}:${value}`)
      assert.ok(parseJsonStrict(`{${texts.join()}}`))
      const again = texts.toSpliced(to % (texts.length + 1), 0, texts[from % texts.length] ?? '')
      return detailOf(() => parseJsonStrict(`{${again.join()}}`)).endsWith('duplicate member')
    }),
  )
})

test('depth and size are bounded, and the bounds are exact', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
  assert.ok(parseJsonStrict(nested(32)))
  assert.equal(
    detailOf(() => parseJsonStrict(nested(33))),
    'The JSON text is nested too deeply',
  )
  assert.ok(parseJsonStrict(`[${nested(2)},${nested(2)}]`, { maxDepth: 3 }))
  assert.ok(parseJsonStrict('"é"', { maxBytes: 4 }))
  const large = 'The JSON text is too large'
  assert.equal(
    detailOf(() => parseJsonStrict('"é"', { maxBytes: 3 })),
    large,
  )
  assert.equal(
    detailOf(() => parseJsonStrict(Buffer.from('"é"'), { maxBytes: 3 })),
    large,
  )
})

test('a text of a hundred thousand brackets is refused, not a stack overflow', () => {
  const bomb = '[{"a":'.repeat(50_000)
  const limits = { maxBytes: bomb.length }
  assert.equal(problemOf(() => parseJsonStrict(bomb, limits)).code, 'token_malformed')
})

test('text that is no Unicode is refused', () => {
  assert.equal(
    detailOf(() => parseJsonStrict('"\ud800"')),
    'The JSON text is not valid Unicode',
  )
  const overlong = Buffer.from([0x22, 0xc0, 0xaf, 0x22])
  assert.equal(
    detailOf(() => parseJsonStrict(overlong)),
    'The JSON text is not valid UTF-8',
  )
})

test('no reason quotes the input', () => {
  assert.equal(
    detailOf(() => parseJsonStrict('{"secret":hunter2}')),
    'The JSON text is not valid',
  )
})

test('base64url is exact or it is not', () => {
  fc.assert(fc.property(fc.uint8Array(), (b) => isBase64url(Buffer.from(b).toString('base64url'))))
  for (const text of ['A', 'AB', 'AA=', 'AA==', 'A A', 'A+', 'A/', 'AAA\n', 'AAB', 'ﬀ']) {
    assert.equal(isBase64url(text), false, text)
  }
})
