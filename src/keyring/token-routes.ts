import type { Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import { plainFirst } from '../http/plain-first.ts'
import type { Routes } from '../http/server.ts'
import type { Keyring } from './keyring.ts'
import { readPlainRing, readPlainSign } from './plain-sign.ts'
import { onRing } from './routes.ts'
import {
  AuthQuery,
  RingParams,
  SignAnswer,
  SignRequestBody,
  VerdictDocument,
  VerifyBody,
} from './schema.ts'

// Signing and verifying with the keys of a ring; to be registered inside the scope of our own routes.

const shown = ({ valid, header, claims, checks }: OtherVerdict) => ({
  valid,
  ...(header && { header: { ...header } }),
  ...(claims && { claims }),
  checks,
})

const BEARER = /^bearer +(\S+)$/i

/** Printable ASCII as it is, all else percent-encoded: a header carries nothing more (RFC 9110 section 5.5). */
const headerSafe = (text: string): string =>
  text.replace(/[^\x21-\x24\x26-\x7e]/gu, encodeURIComponent)

/** What others say of a token. */
export interface OtherVerdict {
  valid: boolean
  header?: object
  claims?: Record<string, unknown>
  checks: { name: string; ok: boolean; reason?: string }[]
}

/** Keys of other slices that tokens are checked with, by their own rules. */
export interface OtherSources {
  /** @throws Problem `forbidden`, `identity_not_found` */
  identity(principal: Principal, id: string, token: string): Promise<OtherVerdict>
  /** @throws Problem `external_security_not_found` */
  externalSecurity(name: string, token: string): Promise<OtherVerdict>
  dataApi(token: string): Promise<OtherVerdict>
}

export function tokenRoutes(
  { signing, verification }: Pick<Keyring, 'signing' | 'verification'>,
  others: OtherSources,
): Routes {
  const tags = ['tokens']

  return async (app) => {
    app.post(
      '/v1/rings/:ring/sign',
      {
        // Any grant to sign in this ring gets as far as the body, which says with which profile.
        config: { capability: { capability: 'sign', on: onRing, some: true }, log: 'debug' },
        schema: {
          ...{ tags, operationId: 'sign', summary: 'Signs one JWT, or up to 1,000' },
          params: RingParams,
          body: SignRequestBody,
          response: { 200: SignAnswer },
        },
        validatorCompiler: plainFirst({ params: readPlainRing, body: readPlainSign }),
        // What `sign` returns is made member by member; checking it again would cost more than writing it.
        serializerCompiler: () => JSON.stringify,
      },
      async (request, reply) => {
        const { ring } = request.params
        const { body, principal } = request
        reply.header('cache-control', 'no-store')
        if (!('batch' in body)) return signing.sign(ring, body, principal)
        return { batch: await signing.signBatch(ring, body.batch, principal) }
      },
    )

    app.post(
      '/v1/verify',
      {
        config: { capability: { capability: 'verify', some: true }, log: 'debug' },
        schema: {
          ...{
            tags,
            operationId: 'verify',
            summary: 'Checks a token and says how each check went',
          },
          body: VerifyBody,
          response: { 200: VerdictDocument },
        },
      },
      async (request, reply) => {
        const { token, with: source, audience, issuer } = request.body
        const resource = 'ring' in source ? { ring: source.ring } : undefined
        if (!request.principal.may('verify', resource)) {
          throw new Problem(
            'forbidden',
            `This needs verify${resource ? `@ring:${resource.ring}` : ''}`,
          )
        }
        reply.header('cache-control', 'no-store')
        if ('identityId' in source) {
          return shown(await others.identity(request.principal, source.identityId, token))
        }
        if ('externalSecurity' in source) {
          return shown(await others.externalSecurity(source.externalSecurity, token))
        }
        if ('dataApi' in source) return shown(await others.dataApi(token))
        const rules = { audience, issuer }
        return 'ring' in source
          ? verification.withRingNow(source.ring, token, rules)
          : verification.withJwks(source.jwks, token, rules)
      },
    )

    app.get(
      '/v1/rings/:ring/auth',
      {
        // The bearer is what is checked, not who asks (product.md section 4).
        config: { capability: 'public' },
        schema: {
          ...{
            tags,
            operationId: 'auth',
            summary: 'Checks the bearer, for nginx auth_request and its like',
          },
          params: RingParams,
          querystring: AuthQuery,
        },
      },
      async (request, reply) => {
        const [, token] = BEARER.exec(request.headers.authorization ?? '') ?? []
        const audience = request.query.aud
        const verdict = token
          ? await verification.withRingNow(request.params.ring, token, { audience })
          : undefined
        reply.header('cache-control', 'no-store')
        if (!verdict?.valid) {
          const failed = verdict?.checks.find(({ ok }) => !ok)
          throw new Problem('unauthenticated', failed?.reason ?? 'A bearer token is needed')
        }
        const { sub } = verdict.claims ?? {}
        const subject = typeof sub === 'string' ? sub : ''
        if (!subject.isWellFormed()) {
          throw new Problem('unauthenticated', 'The sub is not valid Unicode')
        }
        return reply
          .header('x-auth-subject', headerSafe(subject))
          .header(
            'x-auth-claims',
            Buffer.from(JSON.stringify(verdict.claims)).toString('base64url'),
          )
          .code(200)
          .send()
      },
    )
  }
}
