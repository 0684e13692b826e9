// What batches are measured against: jose alone, in a loop, one JWT after the other. The parent sends what to do.
import { type JWTPayload, SignJWT } from 'jose'

export interface JoseWork {
  millis: number
  alg: string
  kid: string
  /** base64url */
  secret: string
  claims: JWTPayload
}

async function work({ millis, alg, kid, secret, claims }: JoseWork): Promise<number> {
  const bytes = Buffer.from(secret, 'base64url')
  const algorithm = { name: 'HMAC', hash: `SHA-${alg.slice(2)}` }
  const key = await crypto.subtle.importKey('raw', bytes, algorithm, false, ['sign'])
  const start = performance.now()
  let done = 0
  while (performance.now() - start < millis) {
    await new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(key)
    done += 1
  }
  return (done * 1000) / (performance.now() - start)
}

process.on('disconnect', () => process.exit(0))
process.on('message', (what: JoseWork) => {
  work(what).then(
    (perSecond) => process.send?.({ perSecond }),
    (error: unknown) => {
      console.error(error)
      process.exit(1)
    },
  )
})
