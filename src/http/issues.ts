import type { FastifySchemaCompiler } from 'fastify'
import type { z } from 'zod'
import { Problem } from '../errors.ts'

const MAX_ISSUES = 50

/**
 * A validator compiler for a surface that shows the issues of zod themselves: Problem `invalid_request` with `errors`,
 * each with at least `code`, `path` and `message`, and never the value that was sent.
 */
export const withIssues: FastifySchemaCompiler<unknown> =
  ({ schema }) =>
  (value: unknown) => {
    const outcome = (schema as z.ZodType).safeParse(value)
    if (outcome.success) return { value: outcome.data }
    const errors = outcome.error.issues
      .slice(0, MAX_ISSUES)
      .map(({ input: _input, ...issue }) => issue)
    return { error: new Problem('invalid_request', errors[0]?.message, { extra: { errors } }) }
  }
