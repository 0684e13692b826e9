import { isProblem } from '../errors.ts'
import { type Client, createClient } from './client.ts'
import { type Call, command } from './command.ts'
import { readText } from './files.ts'
import { json, roleFlag, text } from './flags.ts'
import { createIdentity, saveJwtAuth } from './identity-client.ts'
import { describeJwtAuth } from './identity-jwt-auth.ts'
import { failure, usage } from './io.ts'
import { exactEntry, githubTrust, kubernetesTrust, type Trust } from './trust.ts'

// A tight configuration in one line.

const who = {
  identity: text('ID', 'identity that may log in; one of this and -create is needed'),
  create: text('NAME', 'make the identity, with this name'),
  role: roleFlag('of the identity that -create makes; default: no-access'),
}

const how = {
  audience: text('AUDIENCE', "the claim aud must hold it; default: this server's issuer"),
  'jwks-url': text('URL', "JWK Set of the issuer; default: the issuer's usual place"),
  'jwks-ca-cert': text('FILE', 'PEM certificates, the only ones to trust for it'),
  json,
}

/** A token for everybody else's audience may have been shown to anybody else; one for ours was made for us. */
async function issuerOf(client: Client): Promise<string> {
  const path = '/.well-known/openid-configuration'
  const answer = await client.send('GET', path, { anonymous: true })
  if (answer.status !== 200) {
    throw failure('error: This server has no issuer to take as the audience: -audience is needed')
  }
  return (await client.json<{ issuer: string }>('GET', path, undefined, { anonymous: true })).value
    .issuer
}

async function write(call: Call<typeof who & typeof how>, trust: Trust): Promise<number> {
  const { values, io } = call
  const { identity, create, role } = values
  if (Boolean(identity) === Boolean(create)) {
    throw usage('One of -identity ID and -create NAME says who may log in')
  }
  if (role && !create) throw usage('-role is for the identity that -create makes')
  const file = values['jwks-ca-cert']
  const jwksCaCert = file ? readText(file, '-jwks-ca-cert') : ''
  const given = values.audience && exactEntry(values.audience, '-audience')
  const client = createClient(values, io)
  const audience = values.audience || (await issuerOf(client))
  const body = { ...trust, jwksCaCert, boundAudiences: given || exactEntry(audience, '-audience') }
  const id = identity || (await createIdentity(client, create ?? '', { role })).id
  try {
    const flag = values['jwks-url'] ? '-jwks-url' : '-issuer'
    const { done, value, text } = await saveJwtAuth(client, id, body, flag)
    const made = create ? `Made identity ${id} with the role ${role || 'no-access'}\n` : ''
    const next = `The workload has to ask for its token with the audience ${audience}`
    io.out(values.json ? text : `${made}${done}\n\n${describeJwtAuth(value)}\n${next}\n`)
    return 0
  } catch (error) {
    if (!create || !isProblem(error, 'command_failed')) throw error
    const state = `Identity ${id} was made, with the role ${role || 'no-access'}, and cannot log in yet: go on with -identity ${id}`
    throw failure(`${error.detail}\n${state}`, error)
  }
}

const github = command({
  name: 'identity trust github',
  summary: 'Lets jobs of one GitHub repository log in, on one branch or in one environment',
  notes: [
    'With -environment the branch is free, unless -branch is given too. Access tokens live 15 minutes, an hour with renewals',
    'Names mean what they say: there are no patterns. The repository is written as in the subject of its tokens: OWNER/REPO, or OWNER@ID/REPO@ID where GitHub puts in the immutable ids',
  ],
  flags: {
    ...who,
    repo: text('OWNER/REPO', 'repository; needed'),
    branch: text('NAME', 'branch that a job runs on; default: main'),
    environment: text('NAME', "the job's environment, instead of the branch"),
    issuer: text('URL', 'of a GitHub Enterprise; default: that of github.com'),
    ...how,
  },
  run: (call) => write(call, githubTrust(call.values)),
})

const kubernetes = command({
  name: 'identity trust kubernetes',
  summary: 'Lets pods of one Kubernetes service account log in',
  notes: [
    'Names mean what they say: there are no patterns. Access tokens live 15 minutes, an hour with renewals',
  ],
  flags: {
    ...who,
    issuer: text('URL', "the cluster's --service-account-issuer; needed"),
    namespace: text('NAME', 'namespace; needed'),
    'service-account': text('NAME', 'service account; needed'),
    ...how,
  },
  run: (call) => write(call, kubernetesTrust(call.values)),
})

export const trust = { github, kubernetes }
