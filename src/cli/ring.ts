import { formatDuration, fromSeconds } from '../time.ts'
import type { RingAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { command, segment } from './command.ts'
import { list as repeated, text, toggle } from './flags.ts'
import { toDurationField } from './input.ts'
import { usage } from './io.ts'
import { localTime, record, table } from './table.ts'

const PATH = '/v1/rings'
const json = toggle("the API's answer as it is")

const describe = (ring: RingAnswer) =>
  record({
    ...ring,
    algorithms: ring.algorithms.join(', '),
    maxTokenTtl: formatDuration(fromSeconds(ring.maxTokenTtl)),
    createdAt: localTime(ring.createdAt),
  })

const list = command({
  name: 'ring list',
  summary: 'Lists rings',
  flags: { json },
  async run({ values, io }) {
    const client = createClient(values, io)
    const { value, text } = await client.json<{ rings: RingAnswer[] }>('GET', PATH)
    const rows = value.rings.map(({ name, algorithms, rotationThreshold, issuer }) => [
      ...[name, algorithms.join(','), rotationThreshold, issuer ?? ''],
    ])
    io.out(values.json ? text : table(['Name', 'Algorithms', 'Rotation', 'Issuer'], rows))
    return 0
  },
})

const create = command({
  name: 'ring create',
  argument: 'name',
  summary: 'Makes a ring with its first keys',
  flags: {
    algorithm: repeated('ALG', 'such as RS256, ES256 or EdDSA; the first is the usual one; needed'),
    'rotation-threshold': text('DURATION', 'how long a key signs; default: the setting'),
    'max-token-ttl': text('DURATION', 'longest lifetime of a token; default: the setting'),
    'jwks-max-age': text('DURATION', 'how long its JWK Set may be kept; default: the setting'),
    issuer: text('URL', "default: the server's issuer with /rings/NAME below it"),
    exportable: toggle('private keys may leave it'),
    json,
  },
  async run({ values, argument, io }) {
    const { algorithm, issuer, exportable } = values
    if (algorithm.length === 0) throw usage('-algorithm is needed, such as -algorithm ES256')
    const span = (member: string, flag: 'rotation-threshold' | 'max-token-ttl' | 'jwks-max-age') =>
      values[flag] ? { [member]: toDurationField(values[flag], `-${flag}`) } : {}
    const { value, text } = await createClient(values, io).json<RingAnswer>('POST', PATH, {
      ...{ name: argument, algorithms: algorithm },
      ...span('rotationThreshold', 'rotation-threshold'),
      ...span('maxTokenTtl', 'max-token-ttl'),
      ...span('jwksMaxAge', 'jwks-max-age'),
      ...(issuer && { issuer }),
      ...(exportable && { exportable }),
    })
    io.out(values.json ? text : describe(value))
    return 0
  },
})

const show = command({
  name: 'ring show',
  argument: 'name',
  summary: 'Describes a ring',
  flags: { json },
  async run({ values, argument, io }) {
    const client = createClient(values, io)
    const { value, text } = await client.json<RingAnswer>('GET', `${PATH}/${segment(argument)}`)
    io.out(values.json ? text : describe(value))
    return 0
  },
})

export const ring = { list, create, show }
