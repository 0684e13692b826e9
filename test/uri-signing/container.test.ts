import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  buildContainer,
  type ContainerForm,
  containerFault,
  hashOf,
} from '../../src/uri-signing/container.ts'
import { normaliseUri } from '../../src/uri-signing/uri.ts'
import { problemOf } from '../core/fixtures.ts'
import { uris } from './arbitraries.ts'

// Contract section 9: the forms of `cdniuc`, always anchored, literals escaped, never Perl syntax.

const BUILT: [form: ContainerForm, uri: string, container: string][] = [
  ['exact', 'http://cdn.example/video/a.ts', 'regex:^http://cdn\\.example/video/a\\.ts$'],
  ['exact', 'http://h/p?a=1&b=2', 'regex:^http://h/p\\?a=1&b=2$'],
  [
    'exact',
    'http://h/a+b*(c)[d]{e}|f^g$h\\',
    'regex:^http://h/a\\+b\\*\\(c\\)\\[d\\]\\{e\\}\\|f\\^g\\$h\\\\$',
  ],
  ['exact', 'HTTP://H:80', 'regex:^http://h/$'],
  ['exact', 'http://h/a%20b', 'regex:^http://h/a(%20| )b$'],
  ['exact', 'http://h/%C3%A9%2f%7c%25', 'regex:^http://h/(%C3%A9|é)%2F(%7C|\\|)(%25|%)$'],
  ['any-query', 'http://h/p?a=1', 'regex:^http://h/p(\\?.*)?$'],
  ['below', 'http://cdn.example/video/', 'regex:^http://cdn\\.example/video/.*$'],
  ['below', 'http://h/video', 'regex:^http://h/video([/?].*)?$'],
  ['below', 'http://h/video/?a=1', 'regex:^http://h/video/.*$'],
  [
    'hash',
    'http://cdni.example/foo/bar',
    'hash:sha-256;2tderfWPa86Ku7YnzW51YUp7dGUjBS_3SW3ELx4hmWY',
  ],
]

for (const [form, uri, container] of BUILT) {
  test(`section 9: ${form} of ${uri}`, () => {
    assert.equal(buildContainer(uri, form), container)
  })
}

test('section 12: the RFC 6920 form', () => {
  assert.equal(
    hashOf('http://cdni.example/foo/bar'),
    'sha-256;2tderfWPa86Ku7YnzW51YUp7dGUjBS_3SW3ELx4hmWY',
  )
})

for (const uri of [
  'video/a.ts',
  'http://h/a#b',
  'http://h/%00',
  'http://h/a%0Ab',
  'http://h/%ff',
  'http://h/%C3',
]) {
  test(`section 9: nothing is signed that no cache could match: ${uri}`, () => {
    assert.equal(problemOf(() => buildContainer(uri, 'exact')).code, 'uri_invalid')
  })
}

const FORMS: ContainerForm[] = ['exact', 'any-query', 'below', 'hash']
const inside = (container: string, uri: string) =>
  containerFault(container, normaliseUri(uri) ?? '') === undefined

test('section 9: every form holds its own URI', () => {
  fc.assert(
    fc.property(uris(), fc.constantFrom(...FORMS), (uri, form) => {
      assert.equal(inside(buildContainer(uri, form), uri), true)
    }),
    { numRuns: 2000 },
  )
})

test('section 9: an exact container holds one URI, and the engine says so too', () => {
  fc.assert(
    fc.property(uris(), uris(), (uri, other) => {
      const container = buildContainer(uri, 'exact')
      const isSame = normaliseUri(uri) === normaliseUri(other)
      assert.equal(inside(container, other), isSame)
      assert.equal(inside(buildContainer(uri, 'hash'), other), isSame)
      // `(x)` is more than the quick way reads, so this one goes through the engine.
      assert.equal(inside(container.replace(/\$$/, '()$'), uri), true)
      if (!/%25/.test(uri + other))
        assert.equal(inside(container.replace(/\$$/, '()$'), other), isSame)
    }),
    { numRuns: 1000 },
  )
})

const MATCHED: [container: string, uri: string, isInside: boolean][] = [
  ['regex:^http://h/a$', 'http://h/a', true],
  ['regex:^http://h/a$', 'http://h/ab', false],
  ['regex:^http://h/a$', 'http://h/a?x', false],
  ['regex:^http://h/a\\.ts$', 'http://h/axts', false],
  ['regex:^http://h/p(\\?.*)?$', 'http://h/p?x=1', true],
  ['regex:^http://h/p(\\?.*)?$', 'http://h/p/x', false],
  ['regex:^http://h/p([/?].*)?$', 'http://h/p/x', true],
  ['regex:^http://h/p([/?].*)?$', 'http://h/pq', false],
  ['regex:^http://h/v/.*$', 'http://h/v/', true],
  ['regex:^http://h/v/.*$', 'http://h/w/../v/x', true],
  ['regex:^http://h/v/.*$', 'http://h/v/../w', false],
  ['regex:^http://h/v/.*$', 'http://h/v/%2e%2e/w', false],
  // As in a cache: from the start on, and open at the end.
  ['regex:http://h/v/', 'http://h/v/anything', true],
  ['regex:http://h/v/', 'http://other/?http://h/v/', false],
  ['regex:h/v/', 'http://h/v/', false],
  ['regex:.*h/v/', 'http://h/v/', true],
  // RFC 9246 section 2.1.15.2 and Appendix A
  [
    'regex:[^:]*\\://[^/]*/folder/content/quality_[^/]*/segment.{3}\\.mp4(\\?.*)?',
    'http://h/folder/content/quality_1/segment001.mp4?x',
    true,
  ],
  [
    'regex:[^:]*\\://[^/]*/folder/content/quality_[^/]*/segment.{3}\\.mp4(\\?.*)?',
    'http://h/folder/content/quality_1/segment01.mp4',
    false,
  ],
  [
    'regex:http://cdni\\.example/foo/bar/[0-9]{3}\\.png',
    'http://cdni.example/foo/bar/123.png',
    true,
  ],
  [
    'regex:http://cdni\\.example/foo/bar/[0-9]{3}\\.png',
    'http://cdni.example/foo/bar/12.png',
    false,
  ],
  // What a cache decodes before it matches
  ['regex:^http://h/a b[c]$', 'http://h/a%20bc', true],
  ['regex:^http://h/a%20b[c]$', 'http://h/a%20bc', true],
  ['regex:^http://h/a/b[c]$', 'http://h/a%2Fbc', false],
  // Alternatives that are not ours are the engine's, and nothing in a token throws.
  ['regex:^http://h/(%41|A)$', 'http://h/A', true],
  ['regex:^http://h/(%2F|/)$', 'http://h//', true],
  ['regex:^http://h/(%00|a)$', 'http://h/a', true],
  ['regex:^http://h/(%00|a)$', 'http://h/%00', true],
  ['regex:^http://h/(%FF|a)$', 'http://h/b', false],
  // An operator speaks of what is before it, and the quick way must not take it for text.
  ['regex:^http://h/ab*$', 'http://h/a', true],
  ['regex:^http://h/ab?.*$', 'http://h/ac', true],
  ['regex:^http://h/a|x$', 'http://h/a', true],
  [
    'hash:sha-256;2tderfWPa86Ku7YnzW51YUp7dGUjBS_3SW3ELx4hmWY',
    'http://CDNI.example:80/foo/./bar',
    true,
  ],
  [
    'hash:sha-256;2tderfWPa86Ku7YnzW51YUp7dGUjBS/3SW3ELx4hmWY',
    'http://cdni.example/foo/bar',
    false,
  ],
  [
    'hash:sha-512;2tderfWPa86Ku7YnzW51YUp7dGUjBS_3SW3ELx4hmWY',
    'http://cdni.example/foo/bar',
    false,
  ],
  ['', 'http://h/', false],
  ['regex:', 'http://h/', false],
  ['regex', 'http://h/', false],
  ['Regex:.*', 'http://h/', false],
  ['http://h/', 'http://h/', false],
  // What POSIX does not define is refused.
  ['regex:^http://h/\\d+$', 'http://h/1', false],
  ['regex:^http://h/\\d+$', 'http://h/d', false],
  ['regex:^http://h/(?:a)$', 'http://h/a', false],
  ['regex:^http://h/(?i)A$', 'http://h/a', false],
]

for (const [container, uri, isInside] of MATCHED) {
  test(`section 9: ${container} ${isInside ? 'holds' : 'does not hold'} ${uri}`, () => {
    assert.equal(inside(container, uri), isInside)
  })
}

test('section 10: containers of any length that we make are matched', () => {
  const uri = `http://h/${'a%20.'.repeat(1500)}`
  const container = buildContainer(uri, 'exact')
  assert.equal(inside(container, uri), true)
  assert.equal(inside(container, uri.replace('a', 'b')), false)
})
