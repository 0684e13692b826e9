import type { UriPlanAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { ask } from './collection.ts'
import { command, segment } from './command.ts'
import { json, text, toggle } from './flags.ts'
import { toDurationField } from './input.ts'
import { usage } from './io.ts'
import { localTime, plain, table } from './table.ts'

const STEPS: readonly string[] = ['sign', 'renew', 'remove']

const pathOf = (xmlId: string, verb: string) => `/v1/delivery-services/${segment(xmlId)}/${verb}`

/** Each rotation with its steps. */
function toText({ rotations }: UriPlanAnswer): string {
  if (rotations.length === 0) return 'No rotation\n'
  return rotations
    .map(({ issuer, oldKid, newKid, state, steps }) => {
      const rows = steps.map(({ step, doneAt, safeAt, why }) => [
        ...[step, doneAt ? localTime(doneAt) : '', safeAt ? localTime(safeAt) : '', why],
      ])
      const head = plain(`${issuer}: ${oldKid} → ${newKid}, ${state}`)
      return `${head}\n${table(['Step', 'Done', 'Safe From', 'Why'], rows)}`
    })
    .join('\n')
}

export const rotate = command({
  name: 'uri rotate',
  argument: 'xml_id',
  summary: 'Replaces a key that caches hold, in the order in which nobody is turned away',
  notes: [
    'Without -plan, -step and -cancel it adds a new key; caches load it, then it signs, takes over renewals, and the old one goes',
  ],
  flags: {
    plan: toggle('only show the steps, and when each is safe'),
    step: text('STEP', 'take this step now, if it is safe: sign, renew or remove'),
    cancel: toggle('take the new key away again, while nothing signs with it'),
    issuer: text('NAME', 'default: the issuer with the renewal key'),
    kid: text('KID', 'the key to replace; default: the one that signs'),
    algorithm: text('ALG', 'of the new key; default: that of the old one'),
    'new-kid': text('KID', 'default: a new random one'),
    'announce-for': text('DURATION', 'how long caches have to load the new key; default: 24h'),
    manual: toggle('take no step without -step'),
    json,
  },
  run(call) {
    const { plan, step, cancel, issuer, kid, algorithm, manual } = call.values
    if ([plan, step, cancel].filter(Boolean).length > 1) {
      throw usage('Only one of -plan, -step and -cancel can be given')
    }
    if (step && !STEPS.includes(step)) throw usage('-step is sign, renew or remove')
    if (plan) return ask(call, ['GET', pathOf(call.argument, 'plan')], toText)
    const of = issuer ? { issuer } : {}
    const path = pathOf(call.argument, 'rotate')
    if (step) return ask(call, ['POST', path, { ...of, step }], toText)
    if (cancel) return ask(call, ['POST', path, { ...of, cancel }], toText)
    const announce = call.values['announce-for']
    const newKid = call.values['new-kid']
    const body = {
      ...of,
      ...(kid && { kid }),
      ...(algorithm && { algorithm }),
      ...(newKid && { newKid }),
      ...(announce && { announceFor: toDurationField(announce, '-announce-for') }),
      ...(manual && { automatic: false }),
    }
    return ask(call, ['POST', path, body], toText)
  },
})

export const attest = command({
  name: 'uri attest',
  argument: 'xml_id',
  summary: 'Says that all caches have reloaded, and what others signed with the old key',
  flags: {
    'caches-reloaded-at': text(
      'TIME',
      'RFC 3339, or now: all caches had loaded the keys of then; needed',
    ),
    'others-until': text(
      'SECONDS',
      'NumericDate of the last exp that others signed with the old key',
    ),
    'others-renewal-ttl': text('DURATION', 'the longest cdniets that others put into tokens'),
    issuer: text('NAME', 'which rotation, where more than one is under way'),
    json,
  },
  async run(call) {
    const { issuer, 'caches-reloaded-at': at, 'others-until': until } = call.values
    if (!at)
      throw usage('-caches-reloaded-at is needed: a time such as 2026-01-31T12:00:00Z, or now')
    if (until && !/^\d{1,12}$/.test(until)) throw usage('-others-until must be whole seconds')
    const ttl = call.values['others-renewal-ttl']
    const { now } = createClient(call.values, call.io)
    const body = {
      ...(issuer && { issuer }),
      cachesReloadedAt: at === 'now' ? new Date(await now()).toISOString() : at,
      ...(until && { othersUntil: Number(until) }),
      ...(ttl && { othersRenewalTtl: toDurationField(ttl, '-others-renewal-ttl') }),
    }
    return ask(call, ['POST', pathOf(call.argument, 'attest'), body], toText)
  },
})
