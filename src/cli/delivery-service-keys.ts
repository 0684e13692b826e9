import type { VersionAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { ask } from './collection.ts'
import { command, segment } from './command.ts'
import { json, text } from './flags.ts'
import { readSource } from './input.ts'
import { usage } from './io.ts'
import { localTime, table } from './table.ts'

// The key document of a delivery service, as a whole.

const pathOf = (xmlId: string, verb: string) => `/v1/delivery-services/${segment(xmlId)}/${verb}`

interface Written {
  version: number
}

const stored = ({ version }: Written): string => `Stored version ${version}\n`
const ifMatch = text('ETAG', 'only if the stored document still is this one')

const set = command({
  name: 'delivery-service keys set',
  argument: 'xml_id',
  summary: 'Replaces the key document, byte for byte',
  flags: {
    file: text('FILE', 'the document; - reads standard input; needed'),
    'if-match': ifMatch,
    json,
  },
  async run({ values, argument, io }) {
    const { file, 'if-match': etag } = values
    if (!file) throw usage('-file is needed: a file with the key document, or -')
    const raw = await readSource(file, '-file', io)
    const headers = etag ? { 'if-match': etag } : {}
    const path = pathOf(argument, 'keys')
    const options = { raw, headers }
    const { value, text } = await createClient(values, io).json<Written>(
      'PUT',
      path,
      undefined,
      options,
    )
    io.out(values.json ? text : stored(value))
    return 0
  },
})

const get = command({
  name: 'delivery-service keys get',
  argument: 'xml_id',
  summary: 'Prints the key document, which is secret',
  flags: {},
  async run({ values, argument, io }) {
    const { text } = await createClient(values, io).call('GET', pathOf(argument, 'cache-config'))
    io.out(text)
    return 0
  },
})

const generate = command({
  name: 'delivery-service keys generate',
  argument: 'xml_id',
  summary: 'Makes a first key document with a new key, and prints its kid',
  flags: {
    issuer: text('NAME', 'issuer in the document; needed'),
    algorithm: text('ALG', 'HS256, HS384, HS512, ES256 or RS256; default: HS256'),
    kid: text('KID', 'default: a new random one'),
    json,
  },
  run(call) {
    const { issuer, algorithm, kid } = call.values
    if (!issuer) throw usage('-issuer is needed, such as -issuer studio-a')
    const body = { issuer, ...(algorithm && { algorithm }), ...(kid && { kid }) }
    return ask(
      call,
      ['POST', pathOf(call.argument, 'generate'), body],
      (made: { kid: string }) => `${made.kid}\n`,
    )
  },
})

const copy = command({
  name: 'delivery-service keys copy',
  argument: 'xml_id',
  summary: 'Takes the keys of another delivery service',
  flags: { from: text('XML_ID', 'the service that has them; needed'), json },
  run(call) {
    const { from } = call.values
    if (!from) throw usage('-from is needed: the xml_id of the service that has the keys')
    return ask(call, ['POST', pathOf(call.argument, 'copy'), { from }], stored)
  },
})

const versions = command({
  name: 'delivery-service keys versions',
  argument: 'xml_id',
  summary: 'Lists the last ten versions of the key document: who, when, how',
  flags: { json },
  run: (call) =>
    ask(call, ['GET', pathOf(call.argument, 'versions')], (answer: { versions: VersionAnswer[] }) =>
      table(
        ['Version', 'Keys', 'Origin', 'Create Time', 'By'],
        answer.versions.map(({ version, hasKeys, origin, createdAt, createdBy }) => [
          ...[String(version), hasKeys ? 'yes' : 'none', origin, localTime(createdAt), createdBy],
        ]),
      ),
    ),
})

const rollback = command({
  name: 'delivery-service keys rollback',
  argument: 'xml_id',
  summary: 'Makes an earlier version of the keys the latest',
  flags: { version: text('NUMBER', 'which one; needed'), json },
  run(call) {
    const { version } = call.values
    if (!version || !/^\d{1,9}$/.test(version))
      throw usage('-version is needed, such as -version 3')
    return ask(
      call,
      ['POST', pathOf(call.argument, 'rollback'), { version: Number(version) }],
      stored,
    )
  },
})

const remove = command({
  name: 'delivery-service keys remove',
  argument: 'xml_id',
  summary: 'Removes the keys; earlier versions can be brought back',
  flags: { 'if-match': ifMatch },
  async run({ values, argument, io }) {
    const etag = values['if-match']
    const headers = etag ? { 'if-match': etag } : {}
    await createClient(values, io).call('DELETE', pathOf(argument, 'keys'), undefined, { headers })
    io.out(`Removed the keys of ${argument}\n`)
    return 0
  },
})

export const serviceKeys = { set, get, generate, copy, versions, rollback, remove }
