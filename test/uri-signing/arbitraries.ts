// URIs of every kind for properties: hosts, ports, dot segments, escapes, reserved characters, queries.
import fc from 'fast-check'

const pieces = (alphabet: readonly string[], most: number) =>
  fc.array(fc.constantFrom(...alphabet), { maxLength: most }).map((all) => all.join(''))

const PATH = [
  'a',
  'Z',
  '9',
  '-',
  '.',
  '_',
  '~',
  '/',
  '..',
  './',
  '%20',
  '%2F',
  '%41',
  '%25',
  '%C3%A9',
]
const MARKS = [
  '+',
  '*',
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
  '|',
  '^',
  '$',
  '!',
  "'",
  ',',
  ';',
  ':',
  '@',
  '=',
]
const QUERY = [...PATH, ...MARKS, '&', '?', 'x=1']

/** Absolute URIs without a token and without what a cache cannot match. */
export const uris = () =>
  fc
    .record({
      scheme: fc.constantFrom('http', 'https', 'HTTP'),
      host: fc.constantFrom('cdn.example', 'CDN.Example', '[::1]', '10.0.0.1', 'a-b.c'),
      port: fc.constantFrom('', ':80', ':443', ':8080'),
      path: fc.option(pieces([...PATH, ...MARKS], 12), { nil: undefined }),
      query: fc.option(pieces(QUERY, 12), { nil: undefined }),
    })
    .map(({ scheme, host, port, path, query }) => {
      const tail = query === undefined ? '' : `?${query}`
      return `${scheme}://${host}${port}${path === undefined ? '' : `/${path}`}${tail}`
    })
