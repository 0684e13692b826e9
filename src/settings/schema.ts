import { z } from 'zod'

export const SettingParams = z.strictObject({ name: z.string().max(64) })

export const SettingBody = z
  .strictObject({
    value: z.unknown().describe('Text, a number, true or false, or a list of names'),
  })
  .refine(({ value }) => value !== undefined, { path: ['value'], error: 'Expected a value' })
  .meta({ id: 'SettingBody' })

export const SettingAnswer = z
  .object({
    name: z.string(),
    value: z.unknown(),
    defaultValue: z.unknown(),
    source: z.enum(['default', 'run time', 'environment']),
    class: z
      .enum(['trust', 'operational'])
      .describe('What changing it takes: `access-manage` for trust, `settings` for the others'),
    description: z.string(),
  })
  .meta({ id: 'Setting' })

export const SettingList = z
  .object({ settings: z.array(SettingAnswer).describe('By name') })
  .meta({ id: 'SettingList' })
