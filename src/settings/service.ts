import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { AuditEvent } from '../store/audit.ts'
import type { Tx } from '../store/store.ts'
import {
  DEFINITIONS,
  type Definition,
  Fault,
  isSettingName,
  SETTING_NAMES,
  type SettingClass,
  type SettingName,
  type SettingValue,
} from './definitions.ts'

// Settings that change while the server runs: from memory, written through. What the environment gives stays as it is.

export interface SettingsParts {
  context: Pick<Context, 'store' | 'log'>
  /** What the environment gives; read-only. */
  fixed: Partial<{ [N in SettingName]: SettingValue<N> | undefined }>
  /** More to say of a value than its form, and of who sets it: throws what is wrong. Called outside a transaction. */
  validate?: Partial<{
    [N in SettingName]: (value: SettingValue<N>, principal: Principal) => Promise<void>
  }>
}

export interface SettingDescription {
  name: SettingName
  value: unknown
  defaultValue: unknown
  source: 'default' | 'run time' | 'environment'
  class: SettingClass
  description: string
}

export type Settings = ReturnType<typeof createSettings>

const NEEDS: Record<SettingClass, string> = { trust: 'access-manage', operational: 'settings' }

/** The capability that changing a setting takes; of what is no setting, that of most. */
export const neededFor = (name: unknown): string =>
  NEEDS[typeof name === 'string' && isSettingName(name) ? DEFINITIONS[name].class : 'operational']

/** Committed events after which what `validate` said of a value may be wrong. */
const STALE = /^(?:user|role-grant|external-security|jwt-secret|tenant)\./
/** How often a value is looked at anew because of them. */
const ATTEMPTS = 5

/** @throws Problem `config_invalid` with every value of the environment that is no good, one a line */
export function createSettings({ context, fixed, validate = {} }: SettingsParts) {
  const { store, log } = context
  const given = readFixed(fixed)
  let stored = new Map<SettingName, unknown>()
  const listeners = new Set<(name: SettingName) => void>()
  /** By the event that its transaction records: what counts once that is committed, and not before. */
  const written = new WeakMap<AuditEvent, Change>()
  let generation = 0

  const stop = store.onCommit((events) => {
    for (const event of events) {
      if (STALE.test(event.type)) generation++
      const done = written.get(event)
      if (!done) continue
      const { name, value } = done
      if (value === undefined) stored.delete(name)
      else stored.set(name, value)
      tell(name)
    }
  })

  const definitionOf = (name: SettingName): Definition => DEFINITIONS[name]
  const fixedOf = (name: SettingName): unknown => given.get(name)

  function current(name: SettingName): unknown {
    const value = fixedOf(name)
    if (value !== undefined) return value
    return stored.has(name) ? stored.get(name) : definitionOf(name).default
  }

  function describe(name: SettingName): SettingDescription {
    const { class: of, description, default: defaultValue } = definitionOf(name)
    const isFixed = fixedOf(name) !== undefined
    const source = isFixed ? 'environment' : stored.has(name) ? 'run time' : 'default'
    return { name, value: current(name), defaultValue, source, class: of, description }
  }

  /** @throws Problem `setting_not_found` */
  function named(name: string): SettingName {
    if (isSettingName(name)) return name
    throw new Problem('setting_not_found', `There is no setting ${name.slice(0, 64)}`)
  }

  /** @throws Problem `setting_not_found`, `setting_fixed` */
  function changeable(text: string): SettingName {
    const name = named(text)
    if (fixedOf(name) === undefined) return name
    const detail = `KEYRINGD_${name.toUpperCase()} gives this setting; change it there`
    throw new Problem('setting_fixed', detail)
  }

  function tell(name: SettingName): void {
    for (const listener of listeners) listener(name)
  }

  /**
   * Writes what `validate` lets pass as things are in the transaction itself: what it looked at may have been another a
   * moment before, and nothing that was deleted meanwhile is trusted.
   */
  async function change(principal: Principal, wanted: Change): Promise<SettingDescription> {
    const { name, value = definitionOf(name).default } = wanted
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const asOf = generation
      await validate[name]?.(value as never, principal)
      const isDone = await store.transaction(async (tx) => {
        if (asOf !== generation) return false
        await write(tx, principal, wanted)
        return true
      })
      if (isDone) return describe(name)
    }
    throw new Problem('overloaded', 'What the setting depends on is being changed; try again')
  }

  async function write(tx: Tx, principal: Principal, wanted: Change): Promise<void> {
    const { name, value } = wanted
    if (value !== undefined) await tx.settings.set(name, value)
    else if (!(await tx.settings.delete(name))) return
    const { toDetail, default: fallback } = definitionOf(name)
    const event = await tx.audit.append({
      ...{ type: 'settings.changed', subject: name, principal: principal.id },
      detail: toDetail(value ?? fallback),
    })
    written.set(event, wanted)
  }

  return {
    /** The value now; at once. */
    get: <N extends SettingName>(name: N): SettingValue<N> => current(name) as SettingValue<N>,

    /** Calls `listener` after a change; returns how to stop that. */
    onChange(listener: (name: SettingName) => void): () => void {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },

    /** Reads what is stored. A value that this version does not take is left out, and logged. */
    async load(): Promise<void> {
      const loaded = new Map<SettingName, unknown>()
      for (const [name, value] of await store.read.settings.all()) {
        if (!isSettingName(name)) continue
        const read = definitionOf(name).read(value)
        if (read instanceof Fault) log.error({ name, reason: read.reason }, 'a setting is no good')
        else loaded.set(name, read)
      }
      stored = loaded
      for (const name of SETTING_NAMES) tell(name)
    },

    list: (): SettingDescription[] => SETTING_NAMES.toSorted().map(describe),

    /** @throws Problem `setting_not_found` */
    describe: (name: string): SettingDescription => describe(named(name)),

    /**
     * Counts from its commit on.
     * @throws Problem `setting_not_found`, `setting_fixed`, `invalid_request`, `privilege_boundary`, `overloaded`
     */
    async set(principal: Principal, text: string, value: unknown): Promise<SettingDescription> {
      const name = changeable(text)
      const read = definitionOf(name).read(value)
      if (read instanceof Fault) throw unfit(read.reason)
      return change(principal, { name, value: read })
    },

    /** Back to the default. @throws Problem as `set` */
    reset: async (principal: Principal, text: string): Promise<SettingDescription> =>
      change(principal, { name: changeable(text), value: undefined }),

    /** Stops listening to the store. */
    close: stop,
  }
}

interface Change {
  name: SettingName
  /** Undefined: back to the default. */
  value: unknown
}

/** What the environment gives, held to the rules of any other value. */
function readFixed(fixed: SettingsParts['fixed']): ReadonlyMap<SettingName, unknown> {
  const given = new Map<SettingName, unknown>()
  const faults: string[] = []
  for (const name of SETTING_NAMES) {
    const value: unknown = fixed[name]
    if (value === undefined) continue
    const read = (DEFINITIONS[name] as Definition).read(value)
    if (read instanceof Fault) faults.push(`KEYRINGD_${name.toUpperCase()}: ${read.reason}`)
    else given.set(name, read)
  }
  if (faults.length > 0) throw new Problem('config_invalid', faults.join('\n'))
  return given
}

const unfit = (message: string) =>
  new Problem('invalid_request', message, {
    extra: { errors: [{ path: 'body/value', message }] },
  })
