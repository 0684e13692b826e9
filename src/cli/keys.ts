import { parseDuration, toMillis } from '../time.ts'
import type { KeyAnswer, PlanAnswer } from './answers.ts'
import { type Client, createClient } from './client.ts'
import { command, segment } from './command.ts'
import { json, text, toggle } from './flags.ts'
import { failure, usage } from './io.ts'
import { unexpected } from './refusal.ts'
import { localTime, table } from './table.ts'
import { watch } from './watch.ts'

// Keys of a ring: flags, table and messages of the keyring contract, section 8, with our words for the states.

const DEFAULT = 'default'
/** Of a kid that this server made. */
const KID_LENGTH = 36
const SHORT = 8

const ring = text('NAME', 'ring; default: default')
const region = text('NAME', 'refuse a server of another region')
const verbose = toggle('full key IDs')

const pathOf = (name: string | undefined) => `/v1/rings/${segment(name || DEFAULT)}`

function keyTable(keys: readonly KeyAnswer[], full: boolean): string {
  return table(
    ['Key', 'State', 'Create Time', 'Publish Time'],
    keys.map(({ kid, state, createdAt, activatesAt }) => [
      full ? kid : kid.slice(0, SHORT),
      ...[state, localTime(createdAt), localTime(activatesAt)],
    ]),
  )
}

function planTable(plan: readonly PlanAnswer[], full: boolean): string {
  return table(
    ['Step', 'Key', 'Time', 'Why'],
    plan.map(({ step, kid, at, why }) => [
      ...[step, full ? kid : kid.slice(0, SHORT), localTime(at), why],
    ]),
  )
}

/** Only the imitated routes know regions; a public one says whether this is ours, before anything is done. */
async function checkRegion(client: Client, name: string | undefined): Promise<void> {
  if (!name) return
  const path = `/.well-known/jwks.json?region=${encodeURIComponent(name)}`
  const answer = await client.send('GET', path, { anonymous: true })
  if (answer.status !== 200) throw failure(unexpected(answer))
}

const listKeys = (client: Client, name: string | undefined) =>
  client.json<{ keys: KeyAnswer[] }>('GET', `${pathOf(name)}/keys`)

const list = command({
  name: 'keys list',
  summary: 'Lists the keys of a ring',
  flags: {
    ...{ ring, verbose, json },
    watch: toggle('print again at every change, until Ctrl-C; for the default ring'),
    region,
  },
  async run({ values, io }) {
    if (values.watch && (values.ring || DEFAULT) !== DEFAULT) {
      throw usage('-watch is for the default ring: changes of the others move no index')
    }
    const client = createClient(values, io, { bare: true })
    await checkRegion(client, values.region)
    let shown = false
    const show = async () => {
      const { value, text } = await listKeys(client, values.ring)
      if (values.json) return io.out(text)
      io.out(`${shown ? '\n' : ''}${keyTable(value.keys, values.verbose)}`)
      shown = true
    }
    if (values.watch) await watch(client, io.interrupted(), show)
    else await show()
    return 0
  },
})

/** When the key is to sign, by the server's clock; undefined: now. */
async function activation(client: Client, wait: bigint | undefined): Promise<string | undefined> {
  if (wait === undefined) return undefined
  return new Date((await client.now()) + toMillis(wait)).toISOString()
}

/** Exactly one of the two says when (contract section 8). */
function waitOf(now: boolean, prepublish: string | undefined): bigint | undefined {
  if (now === (prepublish !== undefined)) {
    const both = now ? ' Not both.' : ''
    throw usage(`One of "-now" or "-prepublish" must be used.${both}`)
  }
  if (prepublish === undefined) return undefined
  const wait = parseDuration(prepublish)
  if (wait === undefined) throw usage('-prepublish must be a duration, such as 24h or 1h30m')
  // A negative one would make a key sign that nobody has seen.
  if (wait <= 0n) throw usage('-prepublish must be longer than zero, such as 24h')
  return wait
}

const rotate = command({
  name: 'keys rotate',
  summary: 'Makes the next key of a ring sign, or publishes one that will',
  notes: [
    'One of -now and -prepublish must be used. With -now the standby key takes over, if every verifier can know it; else the time from which on that is so is printed and nothing happens, unless -force and -reason say otherwise',
  ],
  flags: {
    ring,
    now: toggle('the next key signs from now on'),
    prepublish: text('DURATION', 'publish a key now that signs after this time, such as 24h'),
    full: toggle('seal anew what older keys seal; for the default ring'),
    force: toggle('rotate although some verifiers may not know the key yet; needs -reason'),
    reason: text('TEXT', 'why, for the audit record'),
    algorithm: text('ALG', 'only the keys of this algorithm'),
    'dry-run': toggle('show what would be, and change nothing'),
    ...{ verbose, json, region },
  },
  async run({ values, io }) {
    const { full, force, reason, algorithm } = values
    const wait = waitOf(values.now, values.prepublish)
    if (force && !reason) throw usage('-force needs -reason TEXT')
    const client = createClient(values, io, { bare: true })
    await checkRegion(client, values.region)
    const activateAt = await activation(client, wait)
    const { value, text } = await client.json<{ keys: KeyAnswer[]; plan: PlanAnswer[] }>(
      'POST',
      `${pathOf(values.ring)}/rotate`,
      {
        ...(activateAt !== undefined && { activateAt }),
        ...(full && { full }),
        ...(force && { force }),
        ...(reason && { reason }),
        ...(algorithm && { algorithm }),
        ...(values['dry-run'] && { dryRun: true }),
      },
    )
    if (values.json) io.out(text)
    else if (values['dry-run']) {
      const rows = value.plan.length > 0 ? `\n${planTable(value.plan, values.verbose)}` : ''
      io.out(
        `Nothing was changed. This would be:\n\n${keyTable(value.keys, values.verbose)}${rows}`,
      )
    } else io.out(keyTable(value.keys, values.verbose))
    return 0
  },
})

/** The one key with this prefix, by the list (contract section 8). @throws Problem `command_failed` */
async function resolve(client: Client, name: string | undefined, prefix: string): Promise<string> {
  const { keys } = (await listKeys(client, name)).value
  const found = keys.filter(({ kid }) => kid.toLowerCase().startsWith(prefix))
  const exact = found.find(({ kid }) => kid.toLowerCase() === prefix)
  const [key] = exact ? [exact] : found
  if (!key) throw failure(`No encryption key(s) with prefix or ID "${prefix}" found`)
  if (!exact && found.length > 1) {
    throw failure(`Prefix matched multiple keys\n\n${keyTable(found, true).trimEnd()}`)
  }
  return key.kid
}

const remove = command({
  name: 'keys remove',
  argument: 'key ID',
  summary: 'Deletes a key that nothing needs',
  notes: [
    'The ID may be shortened to a prefix that only one key has; a full one is sent as it is',
    'With -force the request goes to the Nomad-style route, since only that one knows force, and for the default ring only: tokens of the key that have not expired no longer keep it',
  ],
  flags: { ring, force: toggle('although tokens of the key are still valid'), region },
  async run({ values, argument, io }) {
    const { force } = values
    if (force && (values.ring || DEFAULT) !== DEFAULT) {
      throw usage('-force is for the default ring: only its Nomad-style route knows force')
    }
    const id = argument.toLowerCase()
    const client = createClient(values, io, { bare: true })
    await checkRegion(client, values.region)
    const kid = id.length === KID_LENGTH ? id : await resolve(client, values.ring, id)
    await client.call(
      'DELETE',
      force
        ? `/v1/operator/keyring/key/${segment(kid)}?force=true`
        : `${pathOf(values.ring)}/keys/${segment(kid)}`,
    )
    io.out(`Removed encryption key ${kid}\n`)
    return 0
  },
})

const plan = command({
  name: 'keys plan',
  summary: 'Says what will happen to the keys of a ring by itself, when, and why',
  flags: { ring, verbose, json, region },
  async run({ values, io }) {
    const client = createClient(values, io, { bare: true })
    await checkRegion(client, values.region)
    const path = `${pathOf(values.ring)}/plan`
    const { value, text } = await client.json<{ plan: PlanAnswer[] }>('GET', path)
    io.out(values.json ? text : planTable(value.plan, values.verbose))
    return 0
  },
})

export const keys = { list, rotate, remove, plan }
