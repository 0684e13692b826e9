import { z } from 'zod'

// What relying parties read, for the documentation: the answers themselves are prebuilt bytes.

/** RFC 7517 section 5. */
export const JwkSet = z
  .object({
    keys: z.array(
      z.object({
        use: z.literal('sig'),
        kty: z.enum(['RSA', 'EC', 'OKP', 'AKP']),
        kid: z.string(),
        crv: z.string().optional(),
        alg: z.string(),
        n: z.string().optional(),
        e: z.string().optional(),
        x: z.string().optional(),
        y: z.string().optional(),
        pub: z.string().optional(),
      }),
    ),
  })
  .meta({ id: 'JwkSet', description: 'RFC 7517; public members only' })

/** OpenID Connect Discovery 1.0, section 3. */
export const ProviderConfiguration = z
  .looseObject({
    id_token_signing_alg_values_supported: z.array(z.string()),
    issuer: z.string(),
    jwks_uri: z.string(),
    response_types_supported: z.array(z.string()),
    subject_types_supported: z.array(z.string()),
  })
  .meta({ id: 'ProviderConfiguration' })
