import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { bareText } from '../../src/data-api/errors.ts'
import { PROBLEMS, Problem, type ProblemCode } from '../../src/errors.ts'
import { aSigner, basic, dataApiWorld, setUp } from './world.ts'

// jwks-setup contract, sections 4 and 5: the words, row by row.

const as = (authorization?: string) => ({ headers: { authorization } }) as unknown as FastifyRequest

test('section 5: every row of the table, its code and its text', () => {
  const table: [code: ProblemCode, status: number, text: string, detail?: string][] = [
    ['jwks_endpoint_unset', 400, 'jwks_endpoint is not set'],
    ['jwks_endpoint_invalid', 400, 'jwks_endpoint is not a valid URL'],
    ['unauthenticated', 401, 'Error 1045: Access denied', 'This needs a credential'],
    ['credentials_wrong', 401, 'Error 1045: Access denied'],
    ['jwt_invalid', 401, 'invalid JWT'],
    ['jwks_not_loaded', 401, 'no JWKS is loaded'],
    [
      ...(['forbidden', 403] as const),
      'Error 1227: Access denied; administrative privilege required',
      'This needs data-api-admin',
    ],
    ['not_found', 404, 'not found', 'There is no GET /api/v2/secret here'],
    ['method_not_allowed', 405, 'method not allowed'],
    ['request_timeout', 408, 'request timeout'],
    ['body_too_large', 413, 'request body too large'],
    ['jwks_update_failed', 500, 'JWKS update failed: status 500', 'status 500'],
    ['jwks_update_timeout', 504, 'JWKS update failed: timeout', 'timeout'],
    ['internal', 500, 'internal error'],
    ['overloaded', 503, 'too many requests at once'],
  ]
  for (const [code, status, text, detail] of table) {
    const problem = new Problem(code, detail)
    const { body, type, headers, status: own } = bareText(problem, as())
    assert.deepEqual([own ?? problem.status, body], [status, text], code)
    assert.equal(type, 'text/plain; charset=utf-8', code)
    assert.equal(headers?.['x-content-type-options'], 'nosniff', code)
    assert.equal(headers?.['allow'], status === 405 ? 'POST' : undefined, code)
    assert.equal(headers?.['www-authenticate'] !== undefined, status === 401, code)
  }
})

test('section 5: whatever the problem, one line, and never JSON', () => {
  for (const code of Object.keys(PROBLEMS) as ProblemCode[]) {
    const { body } = bareText(new Problem(code, ' two\r\nlines\tof \u2028text '), as())
    assert.match(String(body), /^[^\r\n\t\u2028{[][^\r\n\t\u2028]*$/, code)
  }
})

test('section 4: the Bearer challenge names invalid_token where a bearer failed, and only there', async (t) => {
  const signer = aSigner('a')
  const [set, unset] = [await setUp(t, [signer]), await dataApiWorld(t)]
  const table: [authorization: string | undefined, isToken: boolean][] = [
    [undefined, false],
    ['Negotiate abc', false],
    ['Basic', false],
    [basic('root:wrong').authorization, false],
    ['Bearer', false],
    ['Bearer nonsense', true],
    ['bearer a.b.c', true],
    [`BEARER ${await signer.sign({ sub: 'nobody' })}`, true],
    ['Bearer krd_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', true],
  ]
  for (const [authorization, isToken] of table) {
    for (const world of [set, unset]) {
      const answer = await world.ask(authorization === undefined ? {} : { authorization })
      assert.equal(answer.status, 401, String(authorization))
      const expected = [
        'Basic realm="data-api", charset="UTF-8"',
        `Bearer realm="data-api"${isToken ? ', error="invalid_token"' : ''}`,
      ]
      assert.deepEqual(answer.headers['www-authenticate'], expected, String(authorization))
    }
  }
})
