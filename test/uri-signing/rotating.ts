import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { documentText, servicesWorld, type World } from './services.ts'

// A rotation under way, and what its tests do again and again.

const URI = 'http://cdn.example/video/a.ts'

export const seconds = ({ clock }: Pick<World, 'clock'>) => Number(clock.now() / 1_000_000_000n)
export const iso = ({ clock }: Pick<World, 'clock'>) =>
  new Date(Number(clock.now() / 1_000_000n)).toISOString()

/** Kids in the document, and which of them renews. */
export async function keysOf({ ask }: World) {
  const { json } = await ask('GET', '/demo/cache-config')
  const { renewal_kid, keys } = json['studio-a']
  return [renewal_kid, ...keys.map(({ kid }: { kid: string }) => kid)]
}

export async function twoLooks(world: World): Promise<void> {
  const { uriSigning, clock, config } = world
  await uriSigning.tick()
  clock.advance(`${config.rootKeyGcInterval}ns`)
  await uriSigning.tick()
}

export const sign = async ({ ask }: World, more: object = {}) =>
  (await ask('POST', '/demo/sign', { body: { uri: URI, ttl: '1h', ...more } })).json

export async function rotating(t: TestContext, body: object = {}): Promise<World> {
  const world = await servicesWorld(t)
  await world.ask('PUT', '/demo/keys', { raw: documentText('studio-a', 'a') })
  const { status, json } = await world.ask('POST', '/demo/rotate', {
    body: { newKid: 'b', ...body },
  })
  assert.equal(status, 200, JSON.stringify(json))
  return world
}
