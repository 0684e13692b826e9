import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { localTime, record, table } from '../../src/cli/table.ts'

const zone = process.env.TZ
afterEach(() => {
  if (zone === undefined) delete process.env.TZ
  else process.env.TZ = zone
})

test('times are RFC 3339 in the local zone, without a fraction', () => {
  const times: Record<string, string> = {
    UTC: '2026-01-01T00:00:00Z',
    'Asia/Kolkata': '2026-01-01T05:30:00+05:30',
    'America/St_Johns': '2025-12-31T20:30:00-03:30',
  }
  for (const [name, expected] of Object.entries(times)) {
    process.env.TZ = name
    assert.equal(localTime('2026-01-01T00:00:00.999Z'), expected)
  }
})

test('a time follows the daylight saving of its day', () => {
  process.env.TZ = 'Europe/Berlin'
  assert.equal(localTime('2026-07-01T12:00:00.000Z'), '2026-07-01T14:00:00+02:00')
  assert.equal(localTime('2026-12-01T12:00:00.000Z'), '2026-12-01T13:00:00+01:00')
})

test('no time and an empty cell are <none>', () => {
  assert.equal(localTime(null), '<none>')
  assert.equal(localTime(undefined), '<none>')
  assert.equal(table(['A', 'B'], [['', 'b']]), 'A       B\n<none>  b\n')
})

test('columns are two or more spaces apart, and no line ends with one', () => {
  assert.equal(
    table(
      ['Key', 'State'],
      [
        ['a', 'active'],
        ['long-key', ''],
      ],
    ),
    'Key       State\na         active\nlong-key  <none>\n',
  )
})

test('what would move the cursor of a terminal is taken out of cells', () => {
  assert.equal(table(['A'], [['\u001b[2Jx\r\ny\u009b']]), 'A\n [2Jx  y\n')
  assert.equal(record({ a: 'x\ny', b: undefined, c: null, d: ['z'] }), 'a  x y\nd  ["z"]\n')
})
