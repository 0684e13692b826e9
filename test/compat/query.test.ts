import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createConfiguration, joinIssuer } from '../../src/discovery/configuration.ts'
import { acceptsGzip, isFault, parseReadQuery, queryOf } from '../../src/http/blocking-query.ts'
import { isFault as isBad, parseOperation } from '../../src/keyring/nomad-query.ts'

// Keyring contract, sections 1.1, 1.3, 1.4, 2.2, 2.3 and 2.5: whole tables and properties, where a transcript has rows.

const BOOL_WORDS = ['1', 't', 'T', 'true', 'TRUE', 'True', '0', 'f', 'F', 'false', 'FALSE', 'False']
const NO_WORDS = ['yes', 'no', 'on', 'tRUE', 'fALSE', 'TrUe', '2', '01', ' 1', '1 ', '-1', 'null']

const read = (query: string) => parseReadQuery(queryOf(`/?${query}`), 'global')
const textOf = (query: string) => {
  const result = read(query)
  return isFault(result) ? result.text : undefined
}
const deletion = (query: string) =>
  parseOperation('DELETE', `/v1/operator/keyring/key/a${query}`, 'global')
const publishTime = (text: string) =>
  parseOperation('PUT', `/v1/operator/keyring/rotate?publish_time=${encodeURIComponent(text)}`, '')

test('stale and force take the twelve bool words and no others', () => {
  for (const word of BOOL_WORDS) {
    assert.equal(textOf(`stale=${word}`), undefined, word)
    assert.deepEqual(deletion(`?force=${word}`), {
      ...{ do: 'delete', kid: 'a', force: /^[1tT]/.test(word) },
    })
  }
  for (const word of NO_WORDS.map(encodeURIComponent)) {
    assert.match(textOf(`stale=${word}`) ?? '', /`stale`/, word)
    assert.deepEqual(deletion(`?force=${word}`), { status: 422, text: 'invalid force parameter' })
  }
})

test('index takes unsigned 64-bit decimals as they are', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (index) => {
      const result = read(`index=${index}`)
      assert.ok(!isFault(result))
      assert.equal(result.index, index)
    }),
  )
})

test('per_page takes 32 bits with a sign', () => {
  for (const good of ['0', '-0', '%2B1', '2147483647', '-2147483648', '007']) {
    assert.equal(textOf(`per_page=${good}`), undefined, good)
  }
  for (const bad of ['2147483648', '-2147483649', '1.0', '1e3', '0x1', '1_0', '%201', '-', '%2B']) {
    assert.match(textOf(`per_page=${bad}`) ?? '', /`per_page`/, bad)
  }
})

test('publish_time is an int64, kept to the last digit', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (time) => {
      const asked = publishTime(String(time))
      assert.ok(!isBad(asked) && asked.do === 'rotate')
      assert.equal(asked.publishTime, time)
    }),
  )
  fc.assert(
    fc.property(fc.bigInt({ min: 2n ** 63n, max: 2n ** 200n }), (time) => {
      for (const text of [String(time), String(-time - 1n)]) {
        const why = `invalid publish_time: strconv.ParseInt: parsing "${text}": value out of range`
        assert.deepEqual(publishTime(text), { status: 500, text: why })
      }
    }),
  )
})

test('no request makes the parsers throw, and what they quote stays on one line', () => {
  const any = fc.string({ unit: 'binary', maxLength: 40 })
  fc.assert(
    fc.property(any, any, fc.constantFrom('GET', 'PUT', 'DELETE', 'HEAD'), (a, b, method) => {
      for (const url of [
        ...[`/v1/operator/keyring/key/${a}?force=${b}`, `/v1/operator/keyring/${a}`, a],
        `/v1/operator/keyring/rotate?publish_time=${encodeURIComponent(b.toWellFormed())}`,
      ]) {
        const result = parseOperation(method, url, 'global')
        if (isBad(result)) assert.doesNotMatch(result.text, /\p{Cc}/u)
      }
      parseReadQuery(queryOf(`/?${a}=${b}`), 'global')
    }),
  )
})

test('full is on when it is there', () => {
  const fullOf = (query: string) => {
    const asked = parseOperation('PUT', `/v1/operator/keyring/rotate${query}`, 'global')
    return !isBad(asked) && asked.do === 'rotate' && asked.full
  }
  for (const query of ['?full', '?full=', '?full=true', '?full=false', '?full=0', '?a=b&full']) {
    assert.equal(fullOf(query), true, query)
  }
  for (const query of ['', '?', '?Full', '?fullest=1', '?a=full']) {
    assert.equal(fullOf(query), false, query)
  }
})

test('gzip is taken when it is named with a weight above zero', () => {
  const yes = [
    'gzip',
    'GZIP',
    'deflate, gzip;q=1.0, *;q=0.5',
    'gzip;q=0.001',
    ' gzip ; q=0.5',
    'br,gzip',
  ]
  const no = ['', 'identity', 'gzip;q=0', 'gzip;q=0.000', 'x-gzip', 'br;gzip', 'gzip2', '*']
  for (const value of yes) assert.equal(acceptsGzip(value), true, value)
  for (const value of no) assert.equal(acceptsGzip(value), false, value)
})

test('an issuer and a path have one slash between them; dots and doubles go, a query stays', () => {
  const path = '/.well-known/jwks.json'
  const table: [issuer: string, joined: string][] = [
    ['https://a', 'https://a/.well-known/jwks.json'],
    ['https://a/', 'https://a/.well-known/jwks.json'],
    ['https://a//', 'https://a/.well-known/jwks.json'],
    ['https://a/b', 'https://a/b/.well-known/jwks.json'],
    ['https://a/b/', 'https://a/b/.well-known/jwks.json'],
    ['https://a//b//c//', 'https://a/b/c/.well-known/jwks.json'],
    ['https://a/b/../c/./d', 'https://a/c/d/.well-known/jwks.json'],
    ['https://a/../../b', 'https://a/b/.well-known/jwks.json'],
    ['https://a/b?q=1&r=/x/../y', 'https://a/b/.well-known/jwks.json?q=1&r=/x/../y'],
    ['https://a?q', 'https://a/.well-known/jwks.json?q'],
    ['HTTPS://A.Example:443/B', 'HTTPS://A.Example:443/B/.well-known/jwks.json'],
    ['http://[::1]:4646/x%2Fy', 'http://[::1]:4646/x%2Fy/.well-known/jwks.json'],
  ]
  for (const [issuer, joined] of table) assert.equal(joinIssuer(issuer, path), joined)
})

test('discovery has its members in alphabetical order, those of the operator among them', () => {
  const document = createConfiguration({
    ...{ issuer: 'https://a', algorithms: ['RS256'], jwksPath: '/.well-known/jwks.json' },
    extra: { claims_supported: ['sub'], zoneinfo: 1, authorization_endpoint: 'https://a/x' },
  })
  const names = Object.keys(document)
  assert.deepEqual(names, names.toSorted())
  assert.equal(names.length, 8)
})
