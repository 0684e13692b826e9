import type { Routes } from '../http/server.ts'
import { SettingAnswer, SettingBody, SettingList, SettingParams } from './schema.ts'
import { neededFor, type Settings } from './service.ts'

/** Bytes: certificates, and their escapes in JSON. */
const MAX_BODY = 256 * 1024

/** `/v1/settings`; to be registered inside the scope of our own routes. */
export function settingsRoutes(settings: Settings): Routes {
  const tags = ['settings']
  const config = { capability: 'settings' }
  const changes = {
    capability: ({ params }: { params: unknown }) => neededFor((params as { name?: unknown }).name),
    capabilityText: '`access-manage` for trust settings, `settings` for the others',
  }

  return async (app) => {
    app.get(
      '/v1/settings',
      {
        config,
        schema: {
          ...{ tags, operationId: 'listSettings', summary: 'Lists the run-time settings' },
          response: { 200: SettingList },
        },
      },
      async () => ({ settings: settings.list() }),
    )

    app.get(
      '/v1/settings/:name',
      {
        config,
        schema: {
          ...{ tags, operationId: 'getSetting', summary: 'Describes a run-time setting' },
          params: SettingParams,
          response: { 200: SettingAnswer },
        },
      },
      async ({ params }) => settings.describe(params.name),
    )

    app.put(
      '/v1/settings/:name',
      {
        config: changes,
        bodyLimit: MAX_BODY,
        schema: {
          ...{ tags, operationId: 'setSetting', summary: 'Changes a run-time setting' },
          params: SettingParams,
          body: SettingBody,
          response: { 200: SettingAnswer },
        },
      },
      async ({ principal, params, body }) => settings.set(principal, params.name, body.value),
    )

    app.delete(
      '/v1/settings/:name',
      {
        config: changes,
        schema: {
          ...{ tags, operationId: 'resetSetting', summary: 'Takes a setting back to its default' },
          params: SettingParams,
          response: { 200: SettingAnswer },
        },
      },
      async ({ principal, params }) => settings.reset(principal, params.name),
    )
  }
}
