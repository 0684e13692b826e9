import { createClient } from './client.ts'
import { command } from './command.ts'
import { text } from './flags.ts'
import { usage } from './io.ts'

const confirm = command({
  name: 'clock confirm',
  summary: "Says that the server's clock is right after it jumped",
  notes: ['Until then no step is taken that cannot be undone. "keyringd doctor" tells of a jump'],
  flags: { reason: text('TEXT', 'what happened, for the audit record; needed') },
  async run({ values, io }) {
    const { reason } = values
    if (!reason) throw usage('-reason is needed, such as -reason "NTP was off"')
    await createClient(values, io).call('POST', '/v1/clock/confirm', { reason })
    io.out('Confirmed the clock\n')
    return 0
  },
})

export const clock = { confirm }
