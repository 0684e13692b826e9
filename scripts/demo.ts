// `npm run demo [-- --seconds N]`: three relying parties verify tokens over HTTP while keys rotate in `safe` mode, and
// not one fails. Then the same with keys that sign the instant they exist, as a control, and some do.
import { parseArgs } from 'node:util'
import { type RunResult, runDemo } from './demo/run.ts'

const ROTATIONS = 20
const CONTROL_ROTATIONS = 10

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '30' } } })
const seconds = Number(values.seconds)
if (!(seconds >= 1 && seconds <= 60)) {
  console.error('--seconds is a number from 1 to 60')
  process.exit(2)
}

function print(title: string, { clients, rotations, refused, seconds }: RunResult): void {
  const early = refused > 0 ? `, asked too early and refused ${refused} times` : ''
  console.log(`\n${title}\n${rotations} rotations in ${seconds.toFixed(1)} s${early}\n`)
  const rows = clients.map(({ client, verified, kids, failures }) => [
    ...[client, verified, Math.max(0, kids.size - 1), failures].map(String),
  ])
  const table = [['client', 'tokens verified', 'rotations seen', 'failures'], ...rows]
  const widths = [0, 1, 2, 3].map((at) => Math.max(...table.map((row) => row[at]?.length ?? 0)))
  for (const row of table) {
    const [client = '', ...numbers] = row.map((cell, at) =>
      at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0),
    )
    console.log(`  ${[client, ...numbers].join('   ')}`)
  }
  for (const { client, reasons } of clients) {
    for (const [reason, times] of reasons) console.log(`  ${client}: ${times} × ${reason}`)
  }
}

const failuresOf = ({ clients }: RunResult) =>
  clients.reduce((sum, { failures }) => sum + failures, 0)

const stopping = new AbortController()
const { signal } = stopping
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())

const safe = await runDemo({ mode: 'safe', seconds, rotations: ROTATIONS, signal })
print('safe mode: every key was published before it signed', safe)

if (signal.aborted) process.exit(1)
const control = await runDemo({ mode: 'nomad', seconds: 0, rotations: CONTROL_ROTATIONS, signal })
print('control: every key signed the instant it existed (ROTATION_MODE=nomad)', control)

const faults = [
  ...(failuresOf(safe) > 0 ? [`${failuresOf(safe)} tokens failed in safe mode`] : []),
  ...(safe.rotations < ROTATIONS ? [`there were only ${safe.rotations} rotations`] : []),
  ...safe.clients
    .filter(({ kids }) => kids.size <= safe.rotations)
    .map(({ client, kids }) => `${client} saw tokens of ${kids.size} keys only`),
  ...(failuresOf(control) === 0 ? ['the control shows no failure, so this proves nothing'] : []),
]
console.log(
  faults.length === 0
    ? `\nholds: 0 failures in safe mode, ${failuresOf(control)} in the control`
    : `\nFAILED: ${faults.join('; ')}`,
)
if (faults.length > 0) process.exitCode = 1
