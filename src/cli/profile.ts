import { formatDuration, fromSeconds } from '../time.ts'
import type { ProfileAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { command, segment } from './command.ts'
import { text, toggle } from './flags.ts'
import { parseObject, readSource } from './input.ts'
import { usage } from './io.ts'
import { localTime, record, table } from './table.ts'

const ring = text('NAME', 'ring; default: default')
const json = toggle("the API's answer as it is")

const pathOf = (name: string | undefined, profile?: string) => {
  const all = `/v1/rings/${segment(name || 'default')}/profiles`
  return profile === undefined ? all : `${all}/${segment(profile)}`
}

const lifetime = (seconds: number) => formatDuration(fromSeconds(seconds))

const describe = (profile: ProfileAnswer) =>
  record({
    ...profile,
    maxTtl: lifetime(profile.maxTtl),
    createdAt: localTime(profile.createdAt),
    updatedAt: localTime(profile.updatedAt),
  })

const list = command({
  name: 'profile list',
  summary: 'Lists the signing profiles of a ring',
  flags: { ring, json },
  async run({ values, io }) {
    const client = createClient(values, io)
    const { value, text } = await client.json<{ profiles: ProfileAnswer[] }>(
      'GET',
      pathOf(values.ring),
    )
    const rows = value.profiles.map(({ name, sub, aud, maxTtl, updatedAt }) => [
      ...[name, sub, aud.join(','), lifetime(maxTtl), localTime(updatedAt)],
    ])
    const head = ['Name', 'Subject', 'Audience', 'Longest', 'Update Time']
    io.out(values.json ? text : table(head, rows))
    return 0
  },
})

const show = command({
  name: 'profile show',
  argument: 'name',
  summary: 'Describes a signing profile',
  flags: { ring, json },
  async run({ values, argument, io }) {
    const client = createClient(values, io)
    const path = pathOf(values.ring, argument)
    const { value, text } = await client.json<ProfileAnswer>('GET', path)
    io.out(values.json ? text : describe(value))
    return 0
  },
})

const set = command({
  name: 'profile set',
  argument: 'name',
  summary: 'Makes or replaces a signing profile',
  notes: [
    'The file holds a JSON object: sub and maxTtl, and iss, aud, claims, header, typ if wanted',
  ],
  flags: { ring, file: text('FILE', 'the profile; - is standard input; needed'), json },
  async run({ values, argument, io }) {
    if (!values.file) throw usage('-file is needed: a file with the profile, or -')
    const body = parseObject(await readSource(values.file, '-file', io), '-file')
    const client = createClient(values, io)
    const path = pathOf(values.ring, argument)
    const { value, text } = await client.json<ProfileAnswer>('PUT', path, body)
    io.out(values.json ? text : describe(value))
    return 0
  },
})

const remove = command({
  name: 'profile delete',
  argument: 'name',
  summary: 'Deletes a signing profile',
  flags: { ring },
  async run({ values, argument, io }) {
    await createClient(values, io).call('DELETE', pathOf(values.ring, argument))
    io.out(`Deleted profile ${argument}\n`)
    return 0
  },
})

export const profile = { list, show, set, delete: remove }
