// node-oidc-provider as a peer of the benchmark: client_credentials, JWT access tokens, its own in-memory adapter.
//
// node server.mjs PORT ALGORITHM SECRET

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const [port, alg, secret] = process.argv.slice(2);

const pair = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
}[alg]();
const key = { ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: 'bench' };

const provider = new Provider('http://localhost', {
  clients: [{
    client_id: 'bench',
    client_secret: secret,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    scope: 'read write',
  }],
  clientDefaults: { id_token_signed_response_alg: alg },
  jwks: { keys: [key] },
  scopes: ['read', 'write'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://localhost/api',
      getResourceServerInfo: () => ({
        audience: 'https://localhost/api',
        scope: 'read write',
        accessTokenFormat: 'jwt',
        accessTokenTTL: 300,
        jwt: { sign: { alg } },
      }),
    },
  },
});

createServer(provider.callback()).listen(Number(port), '127.0.0.1', () => console.log('ready'));
