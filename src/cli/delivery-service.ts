import type { ServiceAnswer } from './answers.ts'
import { createClient } from './client.ts'
import { ask, type Collection, deleteCommand, showCommand } from './collection.ts'
import { command, segment } from './command.ts'
import { serviceKeys } from './delivery-service-keys.ts'
import { json, text } from './flags.ts'
import { usage } from './io.ts'
import { localTime, record, table } from './table.ts'

export const SERVICES = '/v1/delivery-services'

const services: Collection<ServiceAnswer> = {
  ...{ noun: 'delivery-service', kind: 'delivery service', argument: 'xml_id', flags: {} },
  ...{ member: 'deliveryServices', path: () => SERVICES },
  columns: {
    'XML ID': ({ xmlId }) => xmlId,
    Tenant: ({ tenant }) => tenant,
    CDN: ({ cdn }) => cdn ?? '',
    Keys: ({ keys }) => (keys ? `version ${keys.version}` : ''),
    'Keys Changed': ({ keys }) => localTime(keys?.updatedAt),
  },
  describe: ({ keys, ...service }) =>
    record({
      ...service,
      createdAt: localTime(service.createdAt),
      keys: keys
        ? `version ${keys.version}, ${localTime(keys.updatedAt)} by ${keys.updatedBy}`
        : '',
    }),
}

const TENANT_NEEDED = '-tenant is needed, such as -tenant root'

const create = command({
  name: 'delivery-service create',
  argument: 'xml_id',
  summary: 'Makes a delivery service',
  notes: ['One that there is already stays as it is; "delivery-service move" gives it away'],
  flags: {
    tenant: text('NAME', 'whose it is; needed'),
    cdn: text('NAME', 'the CDN that delivers it'),
    json,
  },
  run(call) {
    const { tenant, cdn } = call.values
    if (!tenant) throw usage(TENANT_NEEDED)
    const body = { tenant, ...(cdn && { cdn }) }
    const path = `${SERVICES}/${segment(call.argument)}`
    const headers = { 'if-none-match': '*' }
    return ask(call, ['PUT', path, body, { headers }], services.describe)
  },
})

const move = command({
  name: 'delivery-service move',
  argument: 'xml_id',
  summary: 'Gives a delivery service to another tenant, with its keys',
  flags: {
    tenant: text('NAME', 'whose it is from now on; needed'),
    cdn: text('NAME', 'the CDN that delivers it from now on; default: the same'),
    json,
  },
  async run(call) {
    const { values, io } = call
    const { tenant } = values
    if (!tenant) throw usage(TENANT_NEEDED)
    const path = `${SERVICES}/${segment(call.argument)}`
    // The API writes both: without a CDN the service would have none.
    const cdn =
      values.cdn ?? (await createClient(values, io).json<ServiceAnswer>('GET', path)).value.cdn
    const body = { tenant, ...(cdn && { cdn }) }
    const headers = { 'if-match': '*' }
    return ask(call, ['PUT', path, body, { headers }], services.describe)
  },
})

interface Page {
  deliveryServices: ServiceAnswer[]
  next: string | null
}

const list = command({
  name: 'delivery-service list',
  summary: 'Lists delivery services by name, a page at a time',
  flags: {
    after: text('XML_ID', 'only those behind this one'),
    limit: text('NUMBER', 'how many, at most 1000; default: 100'),
    json,
  },
  async run({ values, io }) {
    const { after, limit } = values
    const query = new URLSearchParams({ ...(after && { after }), ...(limit && { limit }) })
    const path = query.size > 0 ? `${SERVICES}?${query}` : SERVICES
    const { value, text } = await createClient(values, io).json<Page>('GET', path)
    const cells = Object.values(services.columns)
    const rows = value.deliveryServices.map((one) => cells.map((cell) => cell(one)))
    io.out(values.json ? text : table(Object.keys(services.columns), rows))
    if (value.next !== null && !values.json) io.err(`There are more: -after ${value.next}\n`)
    return 0
  },
})

export const deliveryService = {
  create,
  move,
  list,
  show: showCommand(services, 'Describes a delivery service'),
  delete: deleteCommand(services, 'Deletes a delivery service and its keys, all versions of them'),
  keys: serviceKeys,
}
