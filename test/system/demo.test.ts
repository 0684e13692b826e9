import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'

interface Row {
  verified: number
  rotations: number
  failures: number
}

/** The tables of the demo, one after the other: what each client saw, by its name. */
function tablesOf(output: string): Map<string, Row>[] {
  return output
    .split(/^ +client .*$/m)
    .slice(1)
    .map((table) => {
      const rows = [...table.matchAll(/^ {2}(\S.*?) {2,}(\d+) +(\d+) +(\d+)$/gm)]
      return new Map(
        rows.map(([, client = '', verified, rotations, failures]) => [
          client,
          {
            ...{ verified: Number(verified), rotations: Number(rotations) },
            failures: Number(failures),
          },
        ]),
      )
    })
}

test('three relying parties verify every token through twenty rotations, and the control fails', async (t) => {
  const script = ['scripts/demo.ts', '--seconds', '1']
  const demo = spawn(process.execPath, script, { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => demo.kill())
  const [output, errors, code] = await Promise.all([
    text(demo.stdout),
    text(demo.stderr),
    new Promise((resolve) => demo.once('exit', resolve)),
  ])

  assert.equal(code, 0, `${output}${errors}`)
  const [safe, control] = tablesOf(output)
  assert.deepEqual(
    [...(safe?.keys() ?? [])],
    ['jose', 'jwks-rsa + jsonwebtoken', 'openid-client'],
    output,
  )
  for (const [client, { verified, rotations, failures }] of safe ?? []) {
    assert.ok(verified >= 100, `${client} verified ${verified} tokens`)
    assert.ok(rotations >= 20, `${client} saw ${rotations} rotations`)
    assert.equal(failures, 0, client)
  }
  const controlFailures = [...(control?.values() ?? [])].map(({ failures }) => failures)
  assert.ok(Math.max(...controlFailures) > 0, output)
})
