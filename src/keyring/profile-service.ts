import type { Context, Principal } from '../context.ts'
import { Problem } from '../errors.ts'
import type { ProfileRow } from '../store/profiles.ts'
import type { Ring } from '../store/rings.ts'
import { toMillis } from '../time.ts'
import { type Profile, validateProfile } from './profiles.ts'
import type { View } from './view.ts'

/** Stored as this slice wrote it, so it reads as it was. */
export const policyOfRow = (row: ProfileRow): Profile => row.policy as Profile

const REMEMBERED = 10_000

/** Profiles of rings: what their holders may mint. Read once, remembered until one changes. */
export function createProfiles({ store, now, newId }: Context, view: View) {
  let remembered = new Map<string, Profile>()
  store.onCommit((events) => {
    if (events.some(({ type }) => type.startsWith('profile.'))) remembered = new Map()
  })

  function ringNamed(name: string): Ring {
    const ring = view.ring(name)?.ring
    if (!ring) throw new Problem('ring_not_found', `No ring ${name}`)
    return ring
  }

  const missing = (ring: Ring, name: string) =>
    new Problem('profile_not_found', `No profile ${ring.name}/${name}`)

  /** A profile hands out signatures: whoever writes it could sign in this ring without it (product.md section 4). */
  function checkBoundary(ring: Ring, principal: Principal): void {
    if (principal.may('sign', { ring: ring.name })) return
    throw new Problem('privilege_boundary', `Writing a profile needs sign@ring:${ring.name}`, {
      extra: { missing: [`sign@ring:${ring.name}`] },
    })
  }

  return {
    /** For signing; undefined when there is none. */
    async policy(ring: Ring, name: string): Promise<Profile | undefined> {
      const key = `${ring.id}/${name}`
      // Kept across the read: what is read of a profile that changes meanwhile goes to a map that nobody asks.
      const current = remembered
      const known = current.get(key)
      if (known) return known
      const row = await store.read.profiles.get(ring.id, name)
      if (row && current.size < REMEMBERED) current.set(key, policyOfRow(row))
      return row && policyOfRow(row)
    },

    async list(ringName: string): Promise<ProfileRow[]> {
      return store.read.profiles.ofRing(ringNamed(ringName).id)
    },

    /** @throws Problem `ring_not_found`, `profile_not_found` */
    async get(ringName: string, name: string): Promise<ProfileRow> {
      const ring = ringNamed(ringName)
      const row = await store.read.profiles.get(ring.id, name)
      if (!row) throw missing(ring, name)
      return row
    },

    /** @throws Problem `ring_not_found`, `ring_reserved`, `privilege_boundary`, `invalid_request` */
    async put(
      ringName: string,
      name: string,
      profile: Profile,
      principal: Principal,
    ): Promise<ProfileRow> {
      const ring = ringNamed(ringName)
      if (ring.id === 'access' || ring.id === 'audit') {
        throw new Problem('ring_reserved', `Ring ${ring.name} signs for this server only`)
      }
      checkBoundary(ring, principal)
      validateProfile(profile)
      return store.transaction(async (tx) => {
        const before = await tx.profiles.get(ring.id, name)
        const at = toMillis(now())
        const row = {
          id: before?.id ?? newId(),
          ringId: ring.id,
          name,
          policy: profile,
          createdAt: before?.createdAt ?? at,
          updatedAt: at,
        }
        await tx.profiles.put(row)
        await tx.audit.append({
          type: before ? 'profile.updated' : 'profile.created',
          subject: `${ring.name}/${name}`,
          principal: principal.id,
          detail: { sub: profile.sub, aud: profile.aud, maxTtl: profile.maxTtl },
        })
        return row
      })
    },

    /** Its grants go with it. @throws Problem `ring_not_found`, `profile_not_found`, `privilege_boundary` */
    async delete(ringName: string, name: string, principal: Principal): Promise<void> {
      const ring = ringNamed(ringName)
      checkBoundary(ring, principal)
      await store.transaction(async (tx) => {
        if (!(await tx.profiles.delete(ring.id, name))) throw missing(ring, name)
        await tx.audit.append({
          type: 'profile.deleted',
          subject: `${ring.name}/${name}`,
          principal: principal.id,
        })
      })
    },
  }
}

export type Profiles = ReturnType<typeof createProfiles>
