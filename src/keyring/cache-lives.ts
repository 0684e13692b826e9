import type { Ring } from '../store/rings.ts'
import type { Store } from '../store/store.ts'
import type { Duration, Instant } from '../time.ts'
import { cacheLife, cachePolicy, type EarlierCache, type KeyringSettings } from './policy.ts'

// A longer cache life that earlier settings handed out counts until its last copy is gone (product.md 5.2).

/** Name of the setting; its value is by ring, because each has a cache life of its own. */
const SETTING = 'jwks_cache_lives'

type Stored = Record<string, { life: string; earlier?: { life: string; until: string } }>

export function createCacheLives(store: Store, settings: KeyringSettings, now: () => Instant) {
  const earlier = new Map<string, EarlierCache>()

  /** The longer of what was already remembered and what the settings before this start handed out. */
  function merged(life: Duration, stored: Stored[string] | undefined): EarlierCache | undefined {
    const at = now()
    const before = stored ? BigInt(stored.life) : 0n
    const found: EarlierCache[] = before > life ? [{ life: before, until: at + before }] : []
    if (stored?.earlier) {
      const { life, until } = stored.earlier
      if (BigInt(until) > at) found.push({ life: BigInt(life), until: BigInt(until) })
    }
    if (found.length === 0) return undefined
    return found.reduce((a, b) => ({
      life: a.life > b.life ? a.life : b.life,
      until: a.until > b.until ? a.until : b.until,
    }))
  }

  return {
    /** Undefined when no earlier setting handed out more than the present one, or not lately. */
    earlier: (ring: Ring): EarlierCache | undefined => earlier.get(ring.id),

    /** To be called for every ring at the start, and for a new one. Doing it again changes nothing. */
    async remember(rings: readonly Ring[]): Promise<void> {
      await store.transaction(async (tx) => {
        const stored = ((await tx.settings.get(SETTING)) ?? {}) as Stored
        const next: Stored = { ...stored }
        for (const ring of rings) {
          const life = cacheLife(cachePolicy(settings, ring))
          const longer = merged(life, stored[ring.id])
          if (longer) earlier.set(ring.id, longer)
          next[ring.id] = {
            life: String(life),
            ...(longer && { earlier: { life: String(longer.life), until: String(longer.until) } }),
          }
        }
        if (JSON.stringify(next) !== JSON.stringify(stored)) await tx.settings.set(SETTING, next)
      })
    },
  }
}
