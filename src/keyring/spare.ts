import { ALGORITHMS, type Algorithm, type KeyMaterial } from '../core/index.ts'

/** Who takes a pair is about to rotate: making the next one must not slow that down on a small machine. */
const REST_MILLIS = 100

/** Key pairs made ahead of need. They stay unsealed in memory until taken, and on no disk. */
export interface SpareKeys {
  take(alg: Algorithm): Promise<KeyMaterial>
  /** Starts making pairs for an algorithm whose pairs take long. */
  warm(alg: Algorithm): void
  close(): void
}

/** Keeps up to `depth` pairs of each slow algorithm; the fast ones are made when asked for. */
export function createSpareKeys(
  generate: (alg: Algorithm) => Promise<KeyMaterial>,
  onError: (error: unknown) => void,
  depth = 3,
): SpareKeys {
  const ready = new Map<Algorithm, KeyMaterial[]>()
  const busy = new Set<Algorithm>()
  let closed = false
  let last: Promise<unknown> = Promise.resolve()

  const shelf = (alg: Algorithm) => {
    const found = ready.get(alg) ?? []
    ready.set(alg, found)
    return found
  }

  /** One pair at a time in all: signatures are made in the same few threads, and must not wait for seconds. */
  function inTurn(alg: Algorithm): Promise<KeyMaterial> {
    const turn = last.then(() => generate(alg))
    last = turn.catch(() => undefined)
    return turn
  }

  async function fill(alg: Algorithm): Promise<void> {
    if (busy.has(alg)) return
    busy.add(alg)
    try {
      while (!closed && shelf(alg).length < depth) shelf(alg).push(await inTurn(alg))
    } catch (error) {
      onError(error)
    } finally {
      busy.delete(alg)
    }
  }

  function warm(alg: Algorithm): void {
    if (ALGORITHMS[alg].generatedAhead) void fill(alg)
  }

  return {
    warm,
    async take(alg) {
      const material = shelf(alg).shift() ?? (await generate(alg))
      setTimeout(warm, REST_MILLIS, alg).unref()
      return material
    },
    close() {
      closed = true
      ready.clear()
    },
  }
}
