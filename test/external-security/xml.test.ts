import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { isProblem } from '../../src/errors.ts'
import { parseXml, writeXml, XML_LIMITS, type XmlElement } from '../../src/external-security/xml.ts'

const parse = (text: string) => parseXml(Buffer.from(text))
const leaf = (name: string, text: string, namespace?: string): XmlElement => ({
  ...{ name, namespace, children: [], text },
})

const TAKEN: [what: string, xml: string, root: XmlElement][] = [
  ['text', '<a>b</a>', leaf('a', 'b')],
  ['nothing', '<a/>', leaf('a', '')],
  ['a declaration', '<?xml version="1.0" encoding="utf-8"?>\n<a>b</a>\n', leaf('a', 'b')],
  ['a byte order mark', '\uFEFF<a>b</a>', leaf('a', 'b')],
  ['the five entities', '<a>&amp;&lt;&gt;&quot;&apos;</a>', leaf('a', `&<>"'`)],
  ['references', '<a>&#10;&#x1F600;</a>', leaf('a', '\n😀')],
  ['CDATA', '<a>x<![CDATA[-----BEGIN <&]]>y</a>', leaf('a', 'x-----BEGIN <&y')],
  ['comments', '<!-- a --><a>b<!-- <!DOCTYPE --></a><!-- & -->', leaf('a', 'b')],
  ['CDATA that names a DTD', '<a><![CDATA[<!DOCTYPE a>&b;]]></a>', leaf('a', '<!DOCTYPE a>&b;')],
  ['a namespace', '<a xmlns="urn:x">b</a>', leaf('a', 'b', 'urn:x')],
  ['a prefix', '<p:a xmlns:p="urn:x">b</p:a>', leaf('a', 'b', 'urn:x')],
  [
    'children with white space between them',
    '<a>\n <b>1</b>\t<c/>\r\n</a>',
    { name: 'a', namespace: undefined, children: [leaf('b', '1'), leaf('c', '')], text: undefined },
  ],
]

for (const [what, xml, root] of TAKEN) {
  test(`section 3: XML with ${what} is read`, () => assert.deepEqual(parse(xml), root))
}

const nested = (depth: number) => `${'<a>'.repeat(depth)}${'</a>'.repeat(depth)}`

const REFUSED: [what: string, xml: string | Uint8Array][] = [
  ['nothing', ''],
  ['no element', 'text'],
  ['an open element', '<a>'],
  ['crossed elements', '<a><b></a></b>'],
  ['two roots', '<a/><b/>'],
  ['text behind the root', '<a/>b'],
  ['a DTD', '<!DOCTYPE a><a/>'],
  ['a DTD with an entity', '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'],
  ['an external entity', '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'],
  [
    'a billion laughs',
    `<!DOCTYPE a [<!ENTITY a "lol">${Array.from('bcdefghij', (c, i) => `<!ENTITY ${c} "${`&${'abcdefghi'[i]};`.repeat(10)}">`).join('')}]><a>&j;</a>`,
  ],
  ['an entity declaration alone', '<!ENTITY b "c"><a/>'],
  ['an unknown entity', '<a>&nbsp;</a>'],
  ['an unknown entity in an attribute', '<a b="&c;"/>'],
  ['a bare ampersand', '<a>b & c</a>'],
  ['the end of CDATA in text', '<a>]]></a>'],
  ['open CDATA', '<a><![CDATA[</a>'],
  ['an open comment', '<a><!-- </a>'],
  ['a processing instruction', '<?xml-stylesheet href="x"?><a/>'],
  ['a processing instruction inside', '<a><?b?></a>'],
  ['two declarations', '<?xml version="1.0"?><?xml version="1.0"?><a/>'],
  ['another encoding', '<?xml version="1.0" encoding="ISO-8859-1"?><a/>'],
  ['an unknown prefix', '<p:a/>'],
  ['an unknown prefix of an attribute', '<a p:b="c"/>'],
  ['an attribute twice', '<a b="1" b="2"/>'],
  ['an attribute without quotes', '<a b=1/>'],
  ['a control character', '<a>\u0001</a>'],
  ['NUL', '<a>\0</a>'],
  ['a reference to NUL', '<a>&#0;</a>'],
  ['a reference to half a pair', '<a>&#xD800;</a>'],
  ['a reference beyond Unicode', '<a>&#1114112;</a>'],
  ['text beside children', '<a>b<c/></a>'],
  ['bytes that are not UTF-8', Buffer.from('<a>\xff</a>', 'latin1')],
  ['UTF-16', Buffer.from('<a/>', 'utf16le')],
  ['too many levels', nested(XML_LIMITS.depth + 1)],
  ['thousands of levels', nested(900)],
  ['too many elements', `<a>${'<b/>'.repeat(XML_LIMITS.markup)}</a>`],
  [
    'too many namespaces',
    `<a ${Array.from({ length: 40 }, (_, i) => `xmlns:p${i}="u"`).join(' ')}/>`,
  ],
  ['too many attributes', `<a ${Array.from({ length: 100 }, (_, i) => `p${i}="u"`).join(' ')}/>`],
  ['too many bytes', `<a>${'b'.repeat(XML_LIMITS.bytes)}</a>`],
]

for (const [what, xml] of REFUSED) {
  test(`section 6: XML with ${what} is refused, without a word of what is in it`, () => {
    assert.throws(
      () => (typeof xml === 'string' ? parse(xml) : parseXml(xml)),
      (error) => isProblem(error, 'external_security_invalid') && error.cause === undefined,
    )
  })
}

test('section 3: the deepest document that is taken', () => {
  assert.equal(parse(nested(XML_LIMITS.depth)).name, 'a')
})

const MIB = 1024 * 1024
const HOSTILE: [what: string, xml: string][] = [
  ['open comments', '<!--'.repeat(MIB / 4)],
  ['open CDATA', `<a>${'<![CDATA['.repeat(MIB / 9 - 1)}`],
  ['a long name', `<${'a'.repeat(MIB - 3)}/>`],
  ['white space', `<a${' '.repeat(MIB - 4)}/>`],
  ['attributes', `<a ${Array.from({ length: 90_000 }, (_, i) => `b${i}=""`).join(' ')}/>`],
  ['references', `<a>${'&amp;'.repeat(MIB / 5 - 2)}</a>`],
]

for (const [what, xml] of HOSTILE) {
  test(`section 6: a mebibyte of ${what} is answered within a second`, () => {
    const started = performance.now()
    try {
      parse(xml)
    } catch (error) {
      if (!isProblem(error)) throw error
    }
    assert.ok(performance.now() - started < 1000)
  })
}

test('section 6: whatever the bytes, parsing ends with an element or a problem', () => {
  const pieces = fc.constantFrom(
    ...['<a>', '</a>', '<b', '/>', '<![CDATA[', ']]>', '<!--', '-->', '&amp;', '&', ' x="1"'],
    ...['<!DOCTYPE a', '>', '<?xml version="1.0"?>', 'xmlns="u"', '\u0000', '"', '\ud800', 'é'],
  )
  const documents = fc.array(pieces, { maxLength: 20 }).map((all) => all.join(''))
  fc.assert(
    fc.property(documents, (text) => {
      try {
        parse(text)
      } catch (error) {
        if (!isProblem(error, 'external_security_invalid')) throw error
      }
    }),
  )
})

const char = fc
  .integer({ min: 0x20, max: 0x10ffff })
  .filter((code) => (code < 0xd800 || code > 0xdfff) && code !== 0xfffe && code !== 0xffff)
  .map((code) => String.fromCodePoint(code))
const text = fc
  .array(fc.oneof(char, fc.constantFrom(...'<>&"\'\n\r\t', ']]>', '&amp;')), { maxLength: 40 })
  .map((all) => all.join(''))

test('section 3: what is written is read back, whatever the text', () => {
  fc.assert(
    fc.property(fc.array(text, { maxLength: 5 }), (texts) => {
      const content = texts.map((one) => ({ name: 'b', content: one }))
      const written = writeXml({ name: 'a', attributes: { xmlns: 'urn:x' }, content })
      const read = parse(written)
      assert.deepEqual(
        read.children.map((child) => child.text),
        texts,
      )
      assert.equal(read.namespace, 'urn:x')
    }),
  )
})
