// The payloads of the vendor's pages on jwt-secrets, in their own layout (contract sections 5 and 9).

/** For POST and PUT. */
export const SECRETS_PAYLOAD = `{
  "oauth-server": {
    "oauth-jwt-secret": [
      {
        "oauth-jwt-key-id": "kid1",
        "oauth-jwt-secret-value": "ExampleJWTSecret"
      }
    ]
  }
}
`

/** For DELETE. */
export const KEY_IDS_PAYLOAD = `{
  "oauth-server": {
    "oauth-jwt-secret": [
      {
        "oauth-jwt-key-id": "kid1"
      },
      {
        "oauth-jwt-key-id": "kid2"
      }
    ]
  }
}
`
