import { formatDuration, fromSeconds } from '../time.ts'
import type { RingAnswer } from './answers.ts'
import { ask, type Collection, listCommand, showCommand } from './collection.ts'
import { command } from './command.ts'
import { json, list as repeated, text, toggle } from './flags.ts'
import { toDurationField } from './input.ts'
import { usage } from './io.ts'
import { localTime, record } from './table.ts'

const PATH = '/v1/rings'

const rings: Collection<RingAnswer> = {
  ...{ noun: 'ring', kind: 'ring', flags: {}, member: 'rings' },
  path: () => PATH,
  columns: {
    Name: ({ name }) => name,
    Algorithms: ({ algorithms }) => algorithms.join(','),
    Rotation: ({ rotationThreshold }) => rotationThreshold,
    Issuer: ({ issuer }) => issuer ?? '',
  },
  describe: (ring) =>
    record({
      ...ring,
      algorithms: ring.algorithms.join(', '),
      maxTokenTtl: formatDuration(fromSeconds(ring.maxTokenTtl)),
      createdAt: localTime(ring.createdAt),
    }),
}

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
  run(call) {
    const { algorithm, issuer, exportable } = call.values
    if (algorithm.length === 0) throw usage('-algorithm is needed, such as -algorithm ES256')
    const span = (member: string, flag: 'rotation-threshold' | 'max-token-ttl' | 'jwks-max-age') =>
      call.values[flag] ? { [member]: toDurationField(call.values[flag], `-${flag}`) } : {}
    const body = {
      ...{ name: call.argument, algorithms: algorithm },
      ...span('rotationThreshold', 'rotation-threshold'),
      ...span('maxTokenTtl', 'max-token-ttl'),
      ...span('jwksMaxAge', 'jwks-max-age'),
      ...(issuer && { issuer }),
      ...(exportable && { exportable }),
    }
    return ask(call, ['POST', PATH, body], rings.describe)
  },
})

export const ring = {
  list: listCommand(rings, 'Lists rings'),
  create,
  show: showCommand(rings, 'Describes a ring'),
}
