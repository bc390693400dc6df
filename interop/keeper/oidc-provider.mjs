// node-oidc-provider as a process of its own: client_credentials, JWT access tokens.
//
// It prints a line with the client for each token that it grants. It stands by until it is told to listen, so that one can
// take the place of another within milliseconds.
//
// node oidc-provider.mjs FILE, a JSON file: {"port", "secret", "audience", "lifetimes": {CLIENT: SECONDS}, "jwks"}

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const { port, secret, audience, lifetimes, jwks } = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: Object.keys(lifetimes).map((client_id) => ({
    client_id,
    client_secret: secret,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  })),
  jwks,
  clientDefaults: { id_token_signed_response_alg: jwks.keys[0].alg },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: (context, resource, client) => ({
        audience,
        scope: '',
        accessTokenFormat: 'jwt',
        accessTokenTTL: lifetimes[client.clientId],
        jwt: { sign: { alg: jwks.keys[0].alg } },
      }),
    },
  },
});

provider.on('grant.success', (context) => console.log(context.oidc.client.clientId));
// Nobody would end it otherwise.
process.on('disconnect', () => process.exit());
const server = createServer(provider.callback());
const listen = () => server.listen(port, '127.0.0.1');
server.on('listening', () => process.send('listening'));
// While nobody listens there, a connection to somewhere else may have the port for a moment.
server.on('error', () => setTimeout(listen, 50));
process.on('message', listen);
process.send('standing by');
