import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeJwt } from 'jose'
import type { AccessClaims } from '../../src/identities/access-tokens.ts'
import { createDerive } from '../../src/identities/derive.ts'
import type { Account } from '../../src/identities/directory.ts'
import { ADDRESS } from '../identities/setup.ts'
import { oauthWorld } from './setup.ts'

// What happens between the look at a subject token and the token that is made of it.

for (const [how, code] of [
  ['nothing', undefined],
  ['its family was revoked', 'access_token_revoked'],
  ['its configuration was detached', 'access_token_revoked'],
  ['another one was attached', 'access_token_revoked'],
  ['its identity was deleted', 'access_token_revoked'],
  ['it expired', 'access_token_invalid'],
] as const) {
  test(`of a token that was just used a token is made, unless meanwhile: ${how}`, async (t) => {
    const world = await oauthWorld(t)
    const client = await world.client({ accessTokenTTL: 900 })
    const token = await client.login()
    const subject = {
      claims: decodeJwt(token) as unknown as AccessClaims,
      account: { identity: { id: client.id } } as Account,
    }
    const configuration = `/api/v1/auth/jwt-auth/identities/${client.id}`
    if (how === 'its family was revoked') await world.revoke(token)
    if (how === 'its configuration was detached' || how === 'another one was attached') {
      assert.equal((await world.ask('DELETE', configuration)).status, 200)
    }
    if (how === 'another one was attached') {
      const fixed = { configurationType: 'static', publicKeys: [client.issuer.publicPem] }
      assert.equal((await world.attach(client.id, { ...fixed, boundClaims: {} })).status, 200)
    }
    if (how === 'its identity was deleted') {
      await world.ask('DELETE', `/api/v1/identities/${client.id}`)
    }
    if (how === 'it expired') world.clock.advance('900s')

    const derive = createDerive({ context: world.context, sign: async () => 'signed' })
    const used = { iss: 'c', jti: 'one', keepUntil: Number.MAX_SAFE_INTEGER }
    const made = derive(subject, { name: 'token-exchange', assertions: [used], address: ADDRESS })
    if (code === undefined) {
      assert.deepEqual(await made, { accessToken: 'signed', expiresIn: 900 })
      return
    }
    await assert.rejects(made, { code })
    const use = world.store.transaction((tx) => tx.usedAssertions.use('c', 'one', used.keepUntil))
    assert.equal(await use, true, 'what made no token is not used up')
    assert.deepEqual(await world.audited('token.issued'), [])
  })
}
