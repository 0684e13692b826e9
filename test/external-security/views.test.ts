import assert from 'node:assert/strict'
import test from 'node:test'
import { defaultView, listView, propertiesView } from '../../src/external-security/views.ts'
import { configuration, manageWorld, SHARED, secretsOf } from './world.ts'

// Contract section 4: the list, the default view and the properties, in both formats.

const TOOK = { at: '2026-01-05T10:00:00Z', elapsed: 0.001 }

test('section 4: the list, in JSON', () => {
  const listed = [{ id: '7304512233', name: 'gateway-oauth' }]
  assert.deepEqual(JSON.parse(listView(listed, TOOK, 'json')), {
    'external-security-default-list': {
      meta: {
        uri: '/manage/v2/external-security?view=default',
        'current-time': '2026-01-05T10:00:00Z',
        'elapsed-time': { units: 'sec', value: 0.001 },
      },
      'list-items': {
        'list-count': { units: 'quantity', value: 1 },
        'list-item': [
          {
            uriref: '/manage/v2/external-security/gateway-oauth',
            idref: '7304512233',
            nameref: 'gateway-oauth',
          },
        ],
      },
    },
  })
})

const LIST =
  '<?xml version="1.0" encoding="UTF-8"?>\n<external-security-default-list xmlns="http://marklogic.com/manage/external-security"><meta><uri>/manage/v2/external-security?view=default</uri><current-time>2026-01-05T10:00:00Z</current-time><elapsed-time units="sec">0.001</elapsed-time></meta><list-items>'

test('section 4: the list, in XML, with and without entries', () => {
  const listed = [{ id: '1', name: 'a&b' }]
  assert.equal(
    listView(listed, TOOK, 'xml'),
    `${LIST}<list-count units="quantity">1</list-count><list-item><uriref>/manage/v2/external-security/a%26b</uriref><idref>1</idref><nameref>a&amp;b</nameref></list-item></list-items></external-security-default-list>\n`,
  )
  assert.equal(
    listView([], TOOK, 'xml'),
    `${LIST}<list-count units="quantity">0</list-count></list-items></external-security-default-list>\n`,
  )
})

test('section 4: the default view, in XML', () => {
  const properties = { authentication: 'oauth', authorization: 'oauth', 'cache-timeout': 300 }
  assert.match(
    defaultView({ id: '1', name: 'a', properties }, TOOK, 'xml'),
    /<external-security-default xmlns="[^"]+"><id>1<\/id><name>a<\/name><description\/><authentication>oauth<\/authentication><cache-timeout>300<\/cache-timeout><authorization>oauth<\/authorization><meta>.*<\/meta><relations\/><\/external-security-default>\n$/,
  )
})

test('section 4: properties in XML are element for element those in JSON, in the first namespace', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  await ask('POST', 'one/jwt-secrets', { body: secretsOf({ k1: SHARED, k2: SHARED }) })
  const { text } = await ask('GET', 'one/properties?format=xml')
  assert.equal(
    text,
    '<?xml version="1.0" encoding="UTF-8"?>\n<external-security-properties xmlns="http://marklogic.com/manage/external-security/properties"><external-security-name>one</external-security-name><description>tokens from our IdP</description><authentication>oauth</authentication><cache-timeout>300</cache-timeout><authorization>oauth</authorization><oauth-server><oauth-vendor>Other</oauth-vendor><oauth-flow-type>Resource server</oauth-flow-type><oauth-client-id>gateway</oauth-client-id><oauth-jwt-issuer-uri>https://idp.test/</oauth-jwt-issuer-uri><oauth-token-type>JSON Web Tokens</oauth-token-type><oauth-username-attribute>preferred_username</oauth-username-attribute><oauth-role-attribute>groups</oauth-role-attribute><oauth-privilege-attribute/><oauth-jwt-alg>HS256</oauth-jwt-alg><oauth-jwks-uri/><oauth-jwt-secrets><oauth-jwt-secret><oauth-jwt-key-id>k1</oauth-jwt-key-id></oauth-jwt-secret><oauth-jwt-secret><oauth-jwt-key-id>k2</oauth-jwt-key-id></oauth-jwt-secret></oauth-jwt-secrets></oauth-server></external-security-properties>\n',
  )
})

test('section 4: what stands among the properties under the name of a secret is not shown', () => {
  const properties = {
    ...configuration('a'),
    ...{ 'ldap-password': 'x', 'ldap-server': { 'ldap-password': 'x' }, unknown: 'x' },
  }
  const shown = JSON.parse(propertiesView(properties as never, [], 'json'))
  assert.deepEqual(shown, { ...configuration('a'), 'ldap-server': {} })
})

test('section 1: a DELETE with a type and no body is one without a body', async (t) => {
  const { ask, make } = await manageWorld(t)
  await make('one')
  await ask('POST', 'one/jwt-secrets', { body: secretsOf({ k1: SHARED }) })
  const type = 'application/json'
  assert.equal((await ask('DELETE', 'one/jwt-secrets/k1', { type })).status, 204)
  assert.equal((await ask('DELETE', 'one', { type })).status, 204)
})
