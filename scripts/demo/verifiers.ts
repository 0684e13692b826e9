import { createRemoteJWKSet, jwtVerify } from 'jose'
import jwt from 'jsonwebtoken'
import { JwksClient } from 'jwks-rsa'
import {
  allowInsecureRequests,
  type Configuration,
  discovery,
  implicitAuthentication,
  skipStateCheck,
  useIdTokenResponseType,
} from 'openid-client'

// Three relying parties as their documentation has them, with caches of a second.

export const AUDIENCE = 'demo-api'
export const NONCE = 'demo-nonce'
const CACHE_MILLIS = 1000

/** Resolves for a good token; throws, with the library's own reason, for any other. */
export type Verifier = (token: string) => Promise<void>

const jwksOf = (issuer: string) => `${issuer}/.well-known/jwks.json`

function joseVerifier(issuer: string): Verifier {
  const keys = createRemoteJWKSet(new URL(jwksOf(issuer)), {
    ...{ cacheMaxAge: CACHE_MILLIS, cooldownDuration: 500, timeoutDuration: 5000 },
  })
  return async (token) => {
    await jwtVerify(token, keys, { issuer, audience: AUDIENCE, algorithms: ['RS256'] })
  }
}

function jwksRsaVerifier(issuer: string): Verifier {
  const client = new JwksClient({ jwksUri: jwksOf(issuer), cacheMaxAge: CACHE_MILLIS })
  const getKey: jwt.GetPublicKeyOrSecret = ({ kid }, done) => {
    client.getSigningKey(kid).then(
      (key) => done(null, key.getPublicKey()),
      (error: Error) => done(error),
    )
  }
  return (token) =>
    new Promise((resolve, reject) => {
      const rules = { issuer, audience: AUDIENCE, algorithms: ['RS256' as const] }
      jwt.verify(token, getKey, rules, (error) => (error ? reject(error) : resolve()))
    })
}

/**
 * openid-client verifies ID tokens: this is its flow for `response_type=id_token`, against the discovered `jwks_uri`.
 * It keeps a set for five minutes and has no option for less, so the discovery is done anew every second, counted
 * from before the request.
 */
function openidClientVerifier(issuer: string): Verifier {
  let known: { at: number; configuration: Promise<Configuration> } | undefined

  async function discover(): Promise<Configuration> {
    const options = { execute: [allowInsecureRequests] }
    const found = await discovery(new URL(issuer), AUDIENCE, undefined, undefined, options)
    useIdTokenResponseType(found)
    return found
  }

  return async (token) => {
    const at = performance.now()
    if (!known || at - known.at >= CACHE_MILLIS) known = { at, configuration: discover() }
    const callback = new URL(`https://client.example/callback#id_token=${token}`)
    const checks = { expectedState: skipStateCheck } as const
    await implicitAuthentication(await known.configuration, callback, NONCE, checks)
  }
}

export const VERIFIERS: Record<string, (issuer: string) => Verifier> = {
  jose: joseVerifier,
  'jwks-rsa + jsonwebtoken': jwksRsaVerifier,
  'openid-client': openidClientVerifier,
}
