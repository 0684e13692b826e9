import type { Bench, Line } from './measure.ts'
export async function rotation(_bench: Bench): Promise<Line[]> {
  return []
}
