import { z } from 'zod'

// For the documentation: the surface answers with bare text, and reads no body.

export const BareText = z.string().describe('One line')

export const Nothing = z.undefined().describe('No body')
