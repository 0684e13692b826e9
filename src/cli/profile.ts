import { formatDuration, fromSeconds } from '../time.ts'
import type { ProfileAnswer } from './answers.ts'
import { ask, type Collection, deleteCommand, listCommand, showCommand } from './collection.ts'
import { command, segment } from './command.ts'
import { json, text } from './flags.ts'
import { parseObject, readSource } from './input.ts'
import { usage } from './io.ts'
import { localTime, record } from './table.ts'

const flags = { ring: text('NAME', 'ring; default: default') }

const lifetime = (seconds: number) => formatDuration(fromSeconds(seconds))

const profiles: Collection<ProfileAnswer, typeof flags> = {
  ...{ noun: 'profile', kind: 'profile', flags, member: 'profiles' },
  path: ({ ring }) => `/v1/rings/${segment(ring || 'default')}/profiles`,
  columns: {
    Name: ({ name }) => name,
    Subject: ({ sub }) => sub,
    Audience: ({ aud }) => aud.join(','),
    Longest: ({ maxTtl }) => lifetime(maxTtl),
    'Update Time': ({ updatedAt }) => localTime(updatedAt),
  },
  describe: (profile) =>
    record({
      ...profile,
      maxTtl: lifetime(profile.maxTtl),
      createdAt: localTime(profile.createdAt),
      updatedAt: localTime(profile.updatedAt),
    }),
}

const set = command({
  name: 'profile set',
  argument: 'name',
  summary: 'Makes or replaces a signing profile',
  notes: [
    'The file holds a JSON object: sub and maxTtl, and iss, aud, claims, header, typ if wanted',
  ],
  flags: { ...flags, file: text('FILE', 'the profile; - is standard input; needed'), json },
  async run(call) {
    const { values, argument, io } = call
    if (!values.file) throw usage('-file is needed: a file with the profile, or -')
    const body = parseObject(await readSource(values.file, '-file', io), '-file')
    const path = `${profiles.path(values)}/${segment(argument)}`
    return ask(call, ['PUT', path, body], profiles.describe)
  },
})

export const profile = {
  list: listCommand(profiles, 'Lists the signing profiles of a ring'),
  show: showCommand(profiles, 'Describes a signing profile'),
  set,
  delete: deleteCommand(profiles, 'Deletes a signing profile'),
}
