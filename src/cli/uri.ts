import { lintDocument } from '../uri-signing/lint.ts'
import type { UriVerdictAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { ask } from './collection.ts'
import { command, segment } from './command.ts'
import { json, list, text, toggle } from './flags.ts'
import { readSource, toDurationField } from './input.ts'
import { usage } from './io.ts'
import { columns, plain } from './table.ts'
import { exportKeys } from './uri-export.ts'
import { attest, rotate } from './uri-rotate.ts'

const service = text('XML_ID', 'delivery service whose keys count; needed')

function pathOf(xmlId: string | undefined, verb: string): string {
  if (!xmlId) throw usage('-service is needed: the xml_id of a delivery service')
  return `/v1/delivery-services/${segment(xmlId)}/${verb}`
}

const sign = command({
  name: 'uri sign',
  argument: 'uri',
  summary: 'Signs a URI for a cache and prints it with its token',
  flags: {
    service,
    ttl: text('DURATION', 'lifetime, such as 1h, or whole seconds; needed'),
    container: text('FORM', 'exact, any-query or below; default: exact'),
    issuer: text('NAME', 'default: the issuer with the renewal key'),
    kid: text('KID', 'default: the key that signs now'),
    placement: text('PLACE', 'query, path-parameter, path-segment or cookie; default: query'),
    renewable: toggle('caches renew it by cookie'),
    'token-only': toggle('print the token alone'),
    json,
  },
  run(call) {
    const { values, argument: uri } = call
    const { ttl, container, issuer, kid, placement, renewable } = values
    const path = pathOf(values.service, 'sign')
    if (!ttl) throw usage('-ttl is needed, such as -ttl 1h')
    const body = {
      ...{ uri, ttl: toDurationField(ttl, '-ttl') },
      ...(container && { container }),
      ...(issuer && { issuer }),
      ...(kid && { kid }),
      ...(placement && { placement }),
      ...(renewable && { renewable }),
    }
    return ask(call, ['POST', path, body], (signed: { uri: string; token: string }) =>
      values['token-only'] || placement === 'cookie' ? `${signed.token}\n` : `${signed.uri}\n`,
    )
  },
})

const verify = command({
  name: 'uri verify',
  argument: 'uri',
  summary: 'Says what a cache would say of a URI, and exits 1 when it would refuse it',
  notes: ['The URI - is read from standard input'],
  flags: {
    service,
    cookie: list('COOKIE', 'value of a Cookie header field'),
    renew: toggle('print the cookie that a cache would answer with, too'),
    json,
  },
  async run({ values, argument, io }) {
    const path = pathOf(values.service, 'verify')
    const uri = argument === '-' ? (await io.stdin()).trim() : argument
    const body = {
      uri,
      ...(values.cookie.length > 0 && { cookies: values.cookie }),
      ...(values.renew && { renew: true }),
    }
    const { value, text } = await createClient(values, io).json<UriVerdictAnswer>(
      'POST',
      path,
      body,
    )
    if (values.json) io.out(text)
    else {
      const lines = value.checks.map(({ name, ok, reason }) => [
        ...[ok ? 'ok' : 'failed', plain(name), plain(reason ?? '')],
      ])
      io.out(`${columns(lines)}\n${String(value.code).padStart(3, '0')} ${plain(value.reason)}\n`)
      if (value.renewal) io.out(`Set-Cookie: ${plain(value.renewal.setCookie)}\n`)
      else if (values.renew) io.out('A cache would renew nothing\n')
    }
    return value.code === 200 ? 0 : 1
  },
})

const lint = command({
  name: 'uri lint',
  argument: 'file',
  summary: 'Says what is wrong with a key document, without a server; exits 1 for an error',
  notes: ['The file - is standard input'],
  flags: { json: toggle('findings as JSON') },
  async run({ values, argument, io }) {
    const findings = lintDocument(Buffer.from(await readSource(argument, 'the argument', io)))
    const ok = findings.every(({ severity }) => severity !== 'error')
    if (values.json) io.out(`${JSON.stringify({ ok, findings })}\n`)
    else {
      for (const { severity, rule, issuer, kid, message } of findings) {
        const where = [issuer, kid].filter((one) => one !== undefined).join('/')
        io.out(
          `${severity}: ${plain(where === '' ? rule : `${rule} (${where})`)}\n  ${plain(message)}\n`,
        )
      }
      io.out(findings.length === 0 ? 'Nothing to say against it\n' : '')
    }
    return ok ? 0 : 1
  },
})

export const uri = { sign, verify, lint, rotate, attest, export: exportKeys }
