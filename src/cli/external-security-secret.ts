import { createClient } from './client.ts'
import { command, segment } from './command.ts'
import { text } from './flags.ts'
import { readSource } from './input.ts'
import { usage } from './io.ts'

// Keys that tokens of an external-security configuration are checked with.

const pathOf = (name: string) => `/manage/v2/external-security/${segment(name)}/jwt-secrets`

const keyId = text('ID', 'the kid of the tokens; needed')

/** POST adds, PUT replaces. */
const write = (verb: 'add' | 'replace', method: 'POST' | 'PUT', summary: string) =>
  command({
    name: `external-security secret ${verb}`,
    argument: 'name',
    summary,
    notes: [
      'The file holds a PEM public key for RS256, or the shared secret itself for HS256; one end of line is left out',
    ],
    flags: {
      'key-id': keyId,
      'value-file': text('FILE', 'file with the key and nothing else; - is standard input; needed'),
    },
    async run({ values, argument, io }) {
      const { 'key-id': id, 'value-file': file } = values
      if (!id || !file) throw usage('-key-id and -value-file are needed')
      const value = (await readSource(file, '-value-file', io)).replace(/\r?\n$/, '')
      const secret = { 'oauth-jwt-key-id': id, 'oauth-jwt-secret-value': value }
      const body = { 'oauth-server': { 'oauth-jwt-secret': [secret] } }
      await createClient(values, io).call(method, pathOf(argument), body)
      io.out(`${verb === 'add' ? 'Added' : 'Replaced'} secret ${id} of ${argument}\n`)
      return 0
    },
  })

const remove = command({
  name: 'external-security secret remove',
  argument: 'name',
  summary: 'Removes a secret; tokens under it count no longer',
  flags: { 'key-id': keyId },
  async run({ values, argument, io }) {
    const { 'key-id': id } = values
    if (!id) throw usage('-key-id is needed')
    await createClient(values, io).call('DELETE', `${pathOf(argument)}/${segment(id)}`)
    io.out(`Removed secret ${id} of ${argument}\n`)
    return 0
  },
})

export const jwtSecret = {
  add: write('add', 'POST', 'Adds a secret'),
  replace: write('replace', 'PUT', 'Replaces a secret'),
  remove,
}
