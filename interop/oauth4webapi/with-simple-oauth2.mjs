// simple-oauth2: Basic encoded or raw, the form, and JSON for whoever asks for it.

import assert from 'node:assert/strict';

import { decodeJwt } from 'jose';
import { ClientCredentials, ResourceOwnerPassword } from 'simple-oauth2';

import { refused } from './realm.mjs';

async function config(realm, { id, secret }, options) {
  const answer = await fetch(`${realm.issuer}/.well-known/openid-configuration`);
  const metadata = await answer.json();
  const auth = {
    tokenHost: new URL(realm.issuer).origin,
    tokenPath: new URL(metadata.token_endpoint).pathname,
    revokePath: new URL(metadata.revocation_endpoint).pathname,
  };
  return { client: { id, secret }, auth, options };
}

async function obtain(realm, client, options, parameters = {}) {
  const grant = new ClientCredentials(await config(realm, client, options));
  return told(grant.getToken(parameters));
}

async function login(realm) {
  const grant = new ResourceOwnerPassword(await config(realm, realm.teller));
  return told(grant.getToken({ username: realm.user.name, password: realm.user.password }));
}

/** Its errors are of the HTTP library below it. */
function told(request) {
  return request.catch((error) => {
    throw Object.assign(error, { status: error.output?.statusCode, error: error.data?.payload?.error });
  });
}

export const cases = [
  {
    what: 'client_credentials with a secret by Basic',
    run: async (realm) => assert.equal((await obtain(realm, realm.service)).expired(), false),
  },
  {
    what: 'special characters by Basic, encoded',
    run: (realm) => obtain(realm, realm.printable, { credentialsEncodingMode: 'strict' }),
  },
  {
    what: 'special characters by Basic, raw',
    run: (realm) => obtain(realm, realm.printable, { credentialsEncodingMode: 'loose' }),
  },
  {
    what: 'special characters in the form',
    run: (realm) => obtain(realm, realm.printable, { authorizationMethod: 'body' }),
  },
  {
    what: 'a JSON body is refused',
    run: (realm) => refused(realm, 'body', obtain(realm, realm.service, { bodyFormat: 'json' })),
  },
  {
    what: 'a wrong secret is refused',
    run: (realm) =>
      refused(realm, 'secret', obtain(realm, { id: realm.service.id, secret: 'wrong' })),
  },
  {
    what: 'a scope of others is refused',
    run: (realm) => refused(realm, 'scope', obtain(realm, realm.service, {}, { scope: 'admin' })),
  },
  {
    what: 'a token for a resource (RFC 8707), and none for an unknown one',
    run: async (realm) => {
      const { token } = await obtain(realm, realm.service, {}, { resource: realm.resource });
      assert.equal(decodeJwt(token.access_token).aud, realm.resource);
      const unknown = obtain(realm, realm.service, {}, { resource: 'https://other.example' });
      await refused(realm, 'resource', unknown);
    },
  },
  {
    what: 'password, refresh, and the used refresh token is refused',
    run: async (realm) => {
      const first = await login(realm);
      const second = await first.refresh();
      assert.notEqual(second.token.refresh_token, first.token.refresh_token);
      await refused(realm, 'refreshToken', told(first.refresh()));
    },
  },
  {
    what: 'revocation of both tokens ends both',
    run: async (realm) => {
      const token = await login(realm);
      // Its HTTP library is told to want JSON alone, and RFC 7009 §2.2 answers with nothing.
      await token.revokeAll({ json: true });
      await refused(realm, 'refreshToken', told(token.refresh()));
    },
  },
];
