import { createClient } from './client.ts'
import { command } from './command.ts'
import { checkIdentities } from './doctor-identities.ts'
import { checkPublication, checkReady, checkStatus } from './doctor-server.ts'
import { checkIssuer, checkKek, checkSettings } from './doctor-settings.ts'
import { type Finding, toLine } from './finding.ts'

export const doctor = command({
  name: 'doctor',
  summary:
    'Looks at settings, KEK file, server, identities and issuer, and says what to do; exits 1 on a fail',
  notes: [
    'It reads the settings of its own environment: run it where the server runs, as its user. What needs a server is left out when none answers',
  ],
  flags: {},
  async run({ values, io }) {
    let failed = false
    // As they come: a server that goes away half-way leaves what was found before.
    const report = (findings: readonly Finding[]) => {
      io.out(findings.map(toLine).join(''))
      failed ||= findings.some(({ level }) => level === 'fail')
    }
    const { config, findings } = checkSettings(io.env)
    report(findings)
    if (config) report(checkKek(config))
    const client = createClient(values, io)
    const ready = await checkReady(client)
    report(ready.findings)
    if (ready.up) {
      report(await checkStatus(client))
      report(await checkIdentities(client))
      report(await checkPublication(client, config?.oidcIssuer))
    } else if (config) report(checkIssuer(config))
    return failed ? 1 : 0
  },
})
