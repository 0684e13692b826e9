import type { Bench, Line } from './measure.ts'
export async function startup(_bench: Bench): Promise<Line[]> {
  return []
}
