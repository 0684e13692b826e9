import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
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
  /** More to say of a value than its form, and of who sets it: throws what is wrong. */
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

export function createSettings({ context, fixed, validate = {} }: SettingsParts) {
  const { store, log } = context
  let stored = new Map<SettingName, unknown>()
  const listeners = new Set<(name: SettingName) => void>()

  const definitionOf = (name: SettingName): Definition => DEFINITIONS[name]
  const fixedOf = (name: SettingName): unknown => fixed[name]

  function current(name: SettingName): unknown {
    const given = fixedOf(name)
    if (given !== undefined) return given
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
  function changeable(given: string): SettingName {
    const name = named(given)
    if (fixedOf(name) === undefined) return name
    const detail = `KEYRINGD_${name.toUpperCase()} gives this setting; change it there`
    throw new Problem('setting_fixed', detail)
  }

  function tell(name: SettingName): void {
    for (const listener of listeners) listener(name)
  }

  const check = async (name: SettingName, value: unknown, principal: Principal): Promise<void> =>
    validate[name]?.(value as never, principal)

  async function record(
    tx: Tx,
    principal: Principal,
    name: SettingName,
    value: unknown,
  ): Promise<void> {
    const { isShown } = definitionOf(name)
    await tx.audit.append({
      ...{ type: 'settings.changed', subject: name, principal: principal.id },
      detail: isShown ? { value } : {},
    })
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
     * Counts from the answer on.
     * @throws Problem `setting_not_found`, `setting_fixed`, `invalid_request`, `privilege_boundary`
     */
    async set(principal: Principal, given: string, value: unknown): Promise<SettingDescription> {
      const name = changeable(given)
      const read = definitionOf(name).read(value)
      if (read instanceof Fault) throw unfit(read.reason)
      await check(name, read, principal)
      await store.transaction(async (tx) => {
        await tx.settings.set(name, read)
        await record(tx, principal, name, read)
      })
      stored.set(name, read)
      tell(name)
      return describe(name)
    },

    /** Back to the default. @throws Problem `setting_not_found`, `setting_fixed`, `privilege_boundary` */
    async reset(principal: Principal, given: string): Promise<SettingDescription> {
      const name = changeable(given)
      await check(name, definitionOf(name).default, principal)
      await store.transaction(async (tx) => {
        if (await tx.settings.delete(name)) {
          await record(tx, principal, name, definitionOf(name).default)
        }
      })
      stored.delete(name)
      tell(name)
      return describe(name)
    },
  }
}

const unfit = (message: string) =>
  new Problem('invalid_request', message, {
    extra: { errors: [{ path: 'body/value', message }] },
  })
