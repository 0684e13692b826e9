import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { exactEntry, exactly, githubTrust, kubernetesTrust } from '../../src/cli/trust.ts'
import { literalOf, matches, parsePattern, splitList } from '../../src/core/index.ts'
import { isProblem } from '../../src/errors.ts'

const nothing = { issuer: undefined, 'jwks-url': undefined }
const github = { ...nothing, repo: 'octo-org/octo-repo', branch: undefined, environment: undefined }
const kubernetes = { ...nothing, issuer: 'https://a.example', namespace: 'ci' }

/** The text, or undefined where it is refused. */
function accepted<T>(make: () => T): T | undefined {
  try {
    return make()
  } catch (error) {
    assert.ok(isProblem(error, 'wrong_usage'), String(error))
    return undefined
  }
}

// Every character that means something in a pattern or a list, and some that do not.
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: fc.constantFrom(...'*?[]{}()!\\,-^ ab:/.') }),
  fc.string({ unit: 'grapheme' }),
)

test('what is given is matched as it is written, and nothing else is', () => {
  fc.assert(
    fc.property(text, text, (given, other) => {
      const pattern = accepted(() => exactly(given, '-x'))
      if (pattern === undefined) return
      assert.equal(literalOf(parsePattern(pattern)), given)
      // A pattern is also equal to its own text.
      assert.equal(matches(parsePattern(pattern), other), other === given || other === pattern)
    }),
  )
})

test('in a list it stays one entry', () => {
  fc.assert(
    fc.property(text, (given) => {
      const entry = accepted(() => exactEntry(given, '-x'))
      if (entry !== undefined) assert.deepEqual(splitList(entry), [entry])
    }),
  )
})

test('names with a meaning in patterns, and halves of ids, are no repositories', () => {
  const names = [
    ...['*', 'octo-org', 'octo-org/', '/octo-repo', 'octo-org/*', '*/octo-repo', 'octo-org/a/b'],
    ...[
      'octo-org/octo?',
      '{a,b}/c',
      'octo-org@1/octo-repo',
      'octo-org/octo-repo@1',
      ' a/b',
      'a/b ',
    ],
    ...[
      'octo-org@x/octo-repo@y',
      'octo-org/octo-repo:ref:refs/heads/main',
      'a/b\n',
      'octo-org@1/a@',
    ],
  ]
  for (const repo of names)
    assert.equal(
      accepted(() => githubTrust({ ...github, repo })),
      undefined,
    )
})

test('the usual places of an issuer are found without naming them', () => {
  const usual = githubTrust(github)
  assert.equal(usual.boundIssuer, 'https://token.actions.githubusercontent.com')
  assert.equal(usual.jwksUrl, 'https://token.actions.githubusercontent.com/.well-known/jwks')
  assert.deepEqual([usual.accessTokenTTL, usual.accessTokenMaxTTL], [900, 3600])
  const server = 'https://github.corp.example/_services/token'
  assert.equal(githubTrust({ ...github, issuer: server }).jwksUrl, `${server}/.well-known/jwks`)
  // A final slash is part of the issuer, which is compared as a whole.
  const issuer = 'https://oidc.example/id/1/'
  const cluster = kubernetesTrust({ ...kubernetes, issuer, 'service-account': 'a.b' })
  assert.deepEqual(
    [cluster.boundIssuer, cluster.jwksUrl],
    [issuer, 'https://oidc.example/id/1/openid/v1/jwks'],
  )
  const subject = (environment: string) => githubTrust({ ...github, environment }).boundSubject
  assert.equal(subject('prod'), 'repo:octo-org/octo-repo:environment:prod')
  assert.equal(subject('a:ref:b'), 'repo:octo-org/octo-repo:environment:a%3Aref%3Ab')
})
