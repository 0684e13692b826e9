import type { VerdictAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { ask } from './collection.ts'
import { command, segment } from './command.ts'
import { json, list, text } from './flags.ts'
import { parseObject, readObject, readSource, toDurationField } from './input.ts'
import { usage } from './io.ts'
import { columns, plain } from './table.ts'

const sign = command({
  name: 'token sign',
  summary: 'Signs a JWT and prints it',
  flags: {
    ring: text('NAME', 'ring whose active key signs; default: default'),
    profile: text('NAME', 'signing profile; without one this needs sign@ring:NAME'),
    sub: text('SUBJECT', 'the claim sub'),
    aud: list('AUDIENCE', 'the claim aud'),
    claims: text('JSON|@FILE', 'further claims, a JSON object; @- reads standard input'),
    ttl: text('DURATION', 'lifetime, such as 15m, or whole seconds; needed'),
    typ: text('TYPE', 'header parameter typ; default: JWT'),
    header: text('JSON|@FILE', 'further header parameters, as the profile allows'),
    algorithm: text('ALG', 'default: the first of the ring'),
    json,
  },
  async run(call) {
    const { values, io } = call
    const { ring, profile, sub, aud, ttl, typ, algorithm } = values
    if (!ttl) throw usage('-ttl is needed, such as -ttl 15m')
    const given = values.claims ? await readObject(values.claims, '-claims', io) : {}
    if (sub !== undefined && 'sub' in given) throw usage('sub is in -claims and in -sub')
    if (aud.length > 0 && 'aud' in given) throw usage('aud is in -claims and in -aud')
    const header = values.header ? await readObject(values.header, '-header', io) : undefined
    const path = `/v1/rings/${segment(ring || 'default')}/sign`
    const body = {
      claims: {
        ...given,
        ...(sub !== undefined && { sub }),
        ...(aud.length > 0 && { aud: aud.length === 1 ? aud[0] : aud }),
      },
      ttl: toDurationField(ttl, '-ttl'),
      ...(profile && { profile }),
      ...(typ && { typ }),
      ...(header && { header }),
      ...(algorithm && { algorithm }),
    }
    return ask(call, ['POST', path, body], ({ token }: { token: string }) => `${token}\n`)
  },
})

const verify = command({
  name: 'token verify',
  argument: 'token',
  summary: 'Checks a JWT, says how each check went, and exits 1 when it is not valid',
  notes: ['The token - is read from standard input'],
  flags: {
    ring: text('NAME', 'ring whose keys it must be signed with; default: default'),
    jwks: text('FILE', 'JWK Set whose keys it must be signed with, instead of a ring'),
    audience: text('AUDIENCE', 'the claim aud must hold it'),
    issuer: text('ISSUER', "the claim iss must be it; default: the ring's issuer"),
    json,
  },
  async run({ values, argument, io }) {
    const { ring, jwks, audience, issuer } = values
    if (ring && jwks) throw usage('One of -ring and -jwks says whose keys; both are given')
    if (jwks === '-' && argument === '-') throw usage('Only one of both can be standard input')
    const set = jwks ? parseObject(await readSource(jwks, '-jwks', io), '-jwks') : undefined
    const token = argument === '-' ? (await io.stdin()).trim() : argument
    const { value, text } = await createClient(values, io).json<VerdictAnswer>(
      'POST',
      '/v1/verify',
      {
        token,
        with: set ? { jwks: set } : { ring: ring || 'default' },
        ...(audience && { audience }),
        ...(issuer && { issuer }),
      },
    )
    if (values.json) io.out(text)
    else {
      // Passed, and yet there is something to say: nobody asked.
      const outcome = (ok: boolean, reason: string) => (ok ? (reason ? '-' : 'ok') : 'failed')
      const lines = value.checks.map(({ name, ok, reason = '' }) => [
        ...[outcome(ok, reason), plain(name), plain(reason)],
      ])
      io.out(`${columns(lines)}\nThe token is ${value.valid ? 'valid' : 'not valid'}\n`)
    }
    return value.valid ? 0 : 1
  },
})

export const token = { sign, verify }
