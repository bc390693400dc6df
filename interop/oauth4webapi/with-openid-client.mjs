// openid-client: credentials in the form unless told otherwise, Basic encoded to the last character.

import assert from 'node:assert/strict';

import * as client from 'openid-client';

import { privateKey, refused } from './realm.mjs';

export function discover(realm, { id, secret }, authentication, options) {
  return client.discovery(new URL(realm.issuer), id, secret, authentication, options);
}

async function login(realm) {
  const config = await discover(realm, realm.teller);
  const parameters = { username: realm.user.name, password: realm.user.password };
  return [config, await client.genericGrantRequest(config, 'password', parameters)];
}

export const cases = [
  {
    what: 'discovery by both ways to the metadata',
    run: async (realm) => {
      for (const algorithm of ['oidc', 'oauth2']) {
        const config = await discover(realm, realm.service, undefined, { algorithm });
        assert.ok(config.serverMetadata().supportsPKCE() === false);
      }
    },
  },

  // Client authentication
  {
    what: 'client_credentials with a secret, as it sends it by itself',
    run: async (realm) => {
      const token = await client.clientCredentialsGrant(await discover(realm, realm.service));
      assert.equal(token.expires_in, 300);
    },
  },
  {
    what: 'special characters in the form',
    run: async (realm) => client.clientCredentialsGrant(await discover(realm, realm.odd)),
  },
  {
    what: 'special characters by Basic, encoded to the last one',
    run: async (realm) => {
      const config = await discover(realm, realm.odd, client.ClientSecretBasic(realm.odd.secret));
      await client.clientCredentialsGrant(config);
    },
  },
  ...['ES256', 'RS256'].map((algorithm) => ({
    what: `private_key_jwt with ${algorithm}, which it sends without kid`,
    run: async (realm) => {
      const proof = client.PrivateKeyJwt(await privateKey(realm, algorithm));
      await client.clientCredentialsGrant(await discover(realm, realm.signer, proof));
    },
  })),
  {
    what: 'a wrong secret is refused',
    run: async (realm) => {
      const config = await discover(realm, { id: realm.service.id, secret: 'wrong' });
      await refused(realm, 'secret', client.clientCredentialsGrant(config));
    },
  },
  {
    what: 'a scope of others is refused',
    run: async (realm) => {
      const config = await discover(realm, realm.service);
      await refused(realm, 'scope', client.clientCredentialsGrant(config, { scope: 'admin' }));
    },
  },
  {
    what: 'a grant of others is refused',
    run: async (realm) => {
      const config = await discover(realm, realm.teller);
      await refused(realm, 'grant', client.clientCredentialsGrant(config));
    },
  },

  // Refresh, introspection, revocation
  {
    what: 'password, refresh, and the used refresh token is refused',
    run: async (realm) => {
      const [config, first] = await login(realm);
      const second = await client.refreshTokenGrant(config, first.refresh_token);
      assert.notEqual(second.refresh_token, first.refresh_token);
      await refused(realm, 'refreshToken', client.refreshTokenGrant(config, first.refresh_token));
    },
  },
  {
    what: 'a client introspects and revokes its own token',
    run: async (realm) => {
      const config = await discover(realm, realm.service);
      const { access_token } = await client.clientCredentialsGrant(config);
      assert.equal((await client.tokenIntrospection(config, access_token)).active, true);
      await client.tokenRevocation(config, access_token);
      assert.equal((await client.tokenIntrospection(config, access_token)).active, false);
    },
  },

  // DPoP
  {
    what: 'client_credentials for a key (RFC 9449)',
    run: async (realm) => {
      const config = await discover(realm, realm.service);
      const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair());
      const token = await client.clientCredentialsGrant(config, {}, { DPoP });
      assert.equal(token.token_type, 'dpop');
    },
  },
];
