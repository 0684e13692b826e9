import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { filesOf, makeHome, start } from './process.ts'
import { useKeyDocuments, useLogins } from './secret-keys.ts'
import { bytesOf, createKeeper, holds, type Keeper, toSecret } from './secret-search.ts'
import { useDatabases, useIdentities, useKeyring } from './secret-uses.ts'

// After a full session no secret is anywhere but where it belongs: not in the log, not in an answer, and in the
// database neither as it is nor in another writing.

/** What the PKCS #8 encoding of every private key of a kind begins with, after its length (RFC 5208, RFC 5958). */
const PKCS8 = {
  RSA: Buffer.from('020100300d06092a864886f70d0101010500', 'hex'),
  'P-256': Buffer.from('020100301306072a8648ce3d020106082a8648ce3d030107', 'hex'),
  Ed25519: Buffer.from('302e020100300506032b657004220420', 'hex'),
}

test('the search finds what it is meant to find', () => {
  const bytes = Buffer.from('0123456789abcdef0123456789abcdef', 'hex')
  const secret = toSecret('test', bytes)
  for (const before of ['', 'a', 'ab']) {
    const inside = Buffer.from(`${before}${bytes.toString('latin1')}tail`, 'latin1')
    for (const encoding of ['latin1', 'base64', 'base64url', 'hex'] as const) {
      const place = Buffer.from(inside.toString(encoding), 'latin1')
      assert.equal(holds(place, secret), true, `${encoding} at ${before.length}`)
    }
  }
  assert.equal(holds(Buffer.alloc(100), secret), false)
  const made: Record<keyof typeof PKCS8, Buffer> = {
    RSA: der(generateKeyPairSync('rsa', { modulusLength: 2048 })),
    'P-256': der(generateKeyPairSync('ec', { namedCurve: 'P-256' })),
    Ed25519: der(generateKeyPairSync('ed25519')),
  }
  for (const [kind, prefix] of Object.entries(PKCS8)) {
    assert.equal(holds(made[kind as keyof typeof PKCS8], toSecret(kind, prefix)), true, kind)
  }
})

const der = (pair: { privateKey: { export(o: { type: 'pkcs8'; format: 'der' }): Buffer } }) =>
  pair.privateKey.export({ type: 'pkcs8', format: 'der' })

/** Credentials that careless clients put where none belongs; keys and passwords come back to nobody. */
const CARELESS: ReadonlySet<string> = new Set([
  ...['management token', 'API token', 'login token', 'login JWT', 'access token', 'edge token'],
])

/** Credentials in paths, queries, bodies and headers that are for something else. */
async function useCarelessly({ call, send, exchanges, secrets }: Keeper, management: string) {
  const texts = [management]
  for (const group of CARELESS) {
    // The first writing of the first is the credential as it is.
    const [first] = secrets.filter((secret) => secret.group === group)
    assert.ok(first, group)
    texts.push(String(first.writings[0]))
  }
  for (const secret of texts) {
    const places = [`/v1/rings?token=${secret}`, `/${secret}`, `/v1/api-tokens/${secret}`]
    for (const path of places) await send(path)
    for (const path of places) await call('GET', path)
    const headers = { authorization: `Basic ${Buffer.from(`a:${secret}`).toString('base64')}` }
    await send('/v1/status', { headers })
    await call('GET', '/v1/status', undefined, `${secret}x`)
    await call('POST', '/v1/rings/default/sign', { claims: {}, ttl: secret })
    await call('POST', '/v1/verify', { token: secret, with: { ring: 'default' } })
  }
  assert.ok(exchanges().some(({ answer }) => answer.status === 404))
}

test('no secret is in the log, the database or an answer', async (t) => {
  const home = makeHome(t)
  const { kek, data } = filesOf(home)
  const server = start(t, home, { settings: { LOG_LEVEL: 'trace', ROOT_KEY_ALGORITHM: 'RS256' } })
  await server.ready()
  const keeper = createKeeper(server)
  const { secrets } = keeper
  keeper.keep('management token', server.token())
  await useKeyring(keeper)
  await useDatabases(keeper)
  await useKeyDocuments(keeper)
  await useLogins(keeper)
  await useIdentities(keeper)
  await useCarelessly(keeper, server.token())

  keeper.keep('KEK', readFileSync(kek, 'utf8').trim())
  for (const [kind, prefix] of Object.entries(PKCS8)) secrets.push(toSecret(kind, prefix))
  secrets.push(toSecret('PEM', Buffer.from('PRIVATE KEY')))
  const check = (place: string, bytes: Buffer, isFine = (_: (typeof secrets)[number]) => false) => {
    for (const secret of secrets) {
      if (holds(bytes, secret)) assert.ok(isFine(secret), `${secret.group} is in ${place}`)
    }
  }
  const checkData = (when: string) => {
    for (const file of readdirSync(data)) check(`${file}, ${when}`, readFileSync(join(data, file)))
  }
  const wal = readFileSync(`${filesOf(home).database}-wal`)
  assert.ok(wal.length > 100_000, 'the journal has the whole session')
  checkData('while the server runs')
  assert.deepEqual(await server.end(), { code: 0, signal: null })
  checkData('after its end')
  check('the log', Buffer.from(server.stdout))
  check('standard error', Buffer.from(server.stderr))
  assert.ok(server.log().length > 30)

  for (const { answer, sent, shows } of keeper.exchanges()) {
    const { status, text } = answer
    const bytes = bytesOf(answer)
    // What a request says about itself may come back to who asked; nothing else may.
    const isEcho = status === 404 || status === 422
    check(`an answer: ${status} ${text.slice(0, 100)}`, bytes, (secret) =>
      shows.has(secret.group) ? true : isEcho && CARELESS.has(secret.group) && holds(sent, secret),
    )
    if (!shows.has('URI key')) {
      assert.equal(/"(?:d|p|q|dp|dq|qi|k|priv)":/.test(text), false, 'a private member of a JWK')
    }
    // Else the exception would be for nothing, or the search blind.
    for (const group of shows) {
      const isThere = secrets.some((secret) => secret.group === group && holds(bytes, secret))
      assert.ok(isThere, `${group} is not in ${status} ${text.slice(0, 100)}`)
    }
  }
})
