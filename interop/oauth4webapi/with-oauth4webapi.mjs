// oauth4webapi: strict about what it is answered, and an independent resource server (RFC 9068).

import assert from 'node:assert/strict';

import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';

import { GRANTED, key, privateKey, refused } from './realm.mjs';

export async function discover(realm, algorithm = 'oauth2') {
  const issuer = new URL(realm.issuer);
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm }));
}

export async function obtain(realm, id, authentication, parameters = {}, options = {}) {
  const as = await discover(realm);
  const client = { client_id: id };
  const response = await oauth.clientCredentialsGrantRequest(as, client, authentication, parameters, options);
  return oauth.processClientCredentialsResponse(as, client, response);
}

/** A token with a secret, by Basic. */
export function ordinary(realm, parameters, options) {
  const { id, secret } = realm.service;
  return obtain(realm, id, oauth.ClientSecretBasic(secret), parameters, options);
}

/** A new key of the client, which tokens can be bound to. */
async function newKey(realm) {
  return oauth.DPoP({ client_id: realm.service.id }, await oauth.generateKeyPair('ES256'));
}

async function granted(realm, scope) {
  assert.equal((await ordinary(realm, { scope })).scope, GRANTED[realm.dialect][scope]);
}

async function login(realm, password = realm.user.password) {
  const as = await discover(realm);
  const client = { client_id: realm.teller.id };
  const parameters = { username: realm.user.name, password };
  const authentication = oauth.ClientSecretPost(realm.teller.secret);
  const response = await oauth.genericTokenEndpointRequest(as, client, authentication, 'password', parameters);
  return oauth.processGenericTokenEndpointResponse(as, client, response);
}

async function refresh(realm, token) {
  const as = await discover(realm);
  const client = { client_id: realm.teller.id };
  const authentication = oauth.ClientSecretBasic(realm.teller.secret);
  const response = await oauth.refreshTokenGrantRequest(as, client, authentication, token);
  return oauth.processRefreshTokenResponse(as, client, response);
}

export async function introspect(realm, token, options = {}) {
  const as = await discover(realm);
  const client = { client_id: realm.api.id, introspection_signed_response_alg: as.introspection_signing_alg_values_supported[0] };
  const authentication = oauth.ClientSecretBasic(realm.api.secret);
  const response = await oauth.introspectionRequest(as, client, authentication, token, options);
  const answer = await oauth.processIntrospectionResponse(as, client, response);
  if (options.requestJwtResponse) await oauth.validateApplicationLevelSignature(as, response);
  return answer;
}

async function revoke(realm, { id, secret }, token) {
  const as = await discover(realm);
  const client = { client_id: id };
  const response = await oauth.revocationRequest(as, client, oauth.ClientSecretBasic(secret), token);
  return oauth.processRevocationResponse(response);
}

/** A request to an API that holds this token. */
export function asked(token) {
  return new Request(`https://api.example/orders`, { headers: { authorization: `Bearer ${token}` } });
}

/** The same with a proof of the key that the token is bound to. */
export async function bound(token, DPoP) {
  let sent;
  const url = new URL('https://api.example/orders');
  await oauth.protectedResourceRequest(token, 'GET', url, undefined, undefined, {
    DPoP,
    [oauth.customFetch]: (url, { body: _, ...init }) => {
      sent = new Request(url, init);
      return new Response();
    },
  });
  return sent;
}

export const cases = [
  // Discovery
  {
    what: 'metadata where RFC 8414 puts it',
    run: async (realm) => assert.equal((await discover(realm, 'oauth2')).issuer, realm.issuer),
  },
  {
    what: 'metadata where OpenID Connect Discovery puts it',
    run: async (realm) => assert.equal((await discover(realm, 'oidc')).issuer, realm.issuer),
  },

  // Client authentication
  {
    what: 'client_credentials with a secret by Basic',
    run: async (realm) => {
      const token = await ordinary(realm);
      assert.equal(token.token_type, 'bearer');
      assert.equal(token.expires_in, 300);
      assert.equal(token.refresh_token, undefined);
    },
  },
  {
    what: 'client_credentials with a secret in the form',
    run: (realm) => obtain(realm, realm.service.id, oauth.ClientSecretPost(realm.service.secret)),
  },
  {
    what: 'special characters by Basic, form-encoded',
    run: (realm) => obtain(realm, realm.odd.id, oauth.ClientSecretBasic(realm.odd.secret)),
  },
  {
    what: 'special characters in the form',
    run: (realm) => obtain(realm, realm.odd.id, oauth.ClientSecretPost(realm.odd.secret)),
  },
  ...['ES256', 'RS256'].map((algorithm) => ({
    what: `private_key_jwt with ${algorithm}, with kid`,
    run: async (realm) => {
      const { kid } = key(realm, algorithm);
      const proof = { key: await privateKey(realm, algorithm), kid };
      await obtain(realm, realm.signer.id, oauth.PrivateKeyJwt(proof));
    },
  })),
  {
    what: 'private_key_jwt without kid and typ',
    run: async (realm) => {
      const proof = await privateKey(realm, 'ES256');
      const modify = { [oauth.modifyAssertion]: (header) => delete header.typ };
      await obtain(realm, realm.signer.id, oauth.PrivateKeyJwt(proof, modify));
    },
  },
  {
    what: 'private_key_jwt for the token endpoint is refused',
    run: async (realm) => {
      const { token_endpoint } = await discover(realm);
      const proof = await privateKey(realm, 'ES256');
      const modify = { [oauth.modifyAssertion]: (_, claims) => (claims.aud = token_endpoint) };
      const request = obtain(realm, realm.signer.id, oauth.PrivateKeyJwt(proof, modify));
      await refused(realm, 'assertion', request);
    },
  },
  {
    what: 'an assertion is good once',
    run: async (realm) => {
      const proof = await privateKey(realm, 'ES256');
      const modify = { [oauth.modifyAssertion]: (_, claims) => (claims.jti = 'the same') };
      const request = () => obtain(realm, realm.signer.id, oauth.PrivateKeyJwt(proof, modify));
      await request();
      await refused(realm, 'assertion', request());
    },
  },
  {
    what: 'a wrong secret is refused',
    run: (realm) =>
      refused(realm, 'secret', obtain(realm, realm.service.id, oauth.ClientSecretBasic('wrong'))),
  },

  // Scope
  {
    what: 'the scope asked for is granted',
    run: (realm) => granted(realm, 'write'),
  },
  {
    what: 'without a scope the default is granted',
    run: async (realm) => assert.equal((await ordinary(realm)).scope, 'read'),
  },
  {
    what: 'a scope of others is refused',
    run: (realm) => refused(realm, 'scope', ordinary(realm, { scope: 'admin' })),
  },
  {
    what: 'openid is no scope that anybody could not have',
    run: (realm) => granted(realm, 'openid read'),
  },

  // Access tokens
  {
    what: 'an API accepts the token (RFC 9068)',
    dialect: 'rfc',
    run: async (realm) => {
      const token = await ordinary(realm);
      const claims = await oauth.validateJwtAccessToken(
        await discover(realm),
        asked(token.access_token),
        realm.audience,
      );
      assert.equal(claims.client_id, realm.service.id);
      assert.equal(claims.sub, realm.service.id);
      assert.equal(claims.scope, 'read');
    },
  },
  {
    what: 'another API does not accept the token',
    dialect: 'rfc',
    run: async (realm) => {
      const token = await ordinary(realm);
      const as = await discover(realm);
      const other = oauth.validateJwtAccessToken(as, asked(token.access_token), 'https://other.example');
      await assert.rejects(other, /"aud"/);
    },
  },
  {
    what: 'a Keycloak token is no RFC 9068 token, as with Keycloak',
    dialect: 'keycloak',
    run: async (realm) => {
      const token = await ordinary(realm);
      const as = await discover(realm);
      await assert.rejects(
        oauth.validateJwtAccessToken(as, asked(token.access_token), realm.audience),
        /"typ"/,
      );
    },
  },
  {
    what: 'jose fetches the keys and verifies the token',
    run: async (realm) => {
      const { jwks_uri } = await discover(realm);
      const { access_token } = await ordinary(realm);
      const keys = createRemoteJWKSet(new URL(jwks_uri));
      const expected = { issuer: realm.issuer, audience: realm.audience };
      const { payload } = await jwtVerify(access_token, keys, expected);
      assert.equal(payload.client_id, realm.service.id);
    },
  },

  // Users and refresh tokens
  {
    what: 'password gives a refresh token',
    run: async (realm) => assert.ok((await login(realm)).refresh_token),
  },
  {
    what: 'a wrong password is refused',
    run: (realm) => refused(realm, 'password', login(realm, 'wrong')),
  },
  {
    what: 'refresh gives a new refresh token',
    run: async (realm) => {
      const first = await login(realm);
      const second = await refresh(realm, first.refresh_token);
      assert.notEqual(second.refresh_token, first.refresh_token);
      await refresh(realm, second.refresh_token);
    },
  },
  {
    what: 'a used refresh token is refused, and ends what came after',
    run: async (realm) => {
      const first = await login(realm);
      const second = await refresh(realm, first.refresh_token);
      await refused(realm, 'refreshToken', refresh(realm, first.refresh_token));
      await refused(realm, 'refreshToken', refresh(realm, second.refresh_token));
    },
  },

  // Introspection and revocation
  {
    what: 'an API introspects a token',
    run: async (realm) => {
      const answer = await introspect(realm, (await ordinary(realm)).access_token);
      assert.equal(answer.active, true);
      assert.equal(answer.client_id, realm.service.id);
      assert.equal(answer.scope, 'read');
      assert.equal(answer.iss, realm.issuer);
    },
  },
  {
    what: 'the answer to introspection is signed on request (RFC 9701)',
    run: async (realm) => {
      const { access_token } = await ordinary(realm);
      const answer = await introspect(realm, access_token, { requestJwtResponse: true });
      assert.equal(answer.active, true);
    },
  },
  {
    what: 'what is no token is not active',
    run: async (realm) => assert.deepEqual(await introspect(realm, 'nonsense'), { active: false }),
  },
  {
    what: 'a revoked access token is not active',
    run: async (realm) => {
      const { access_token } = await ordinary(realm);
      assert.equal((await introspect(realm, access_token)).active, true);
      await revoke(realm, realm.service, access_token);
      assert.deepEqual(await introspect(realm, access_token), { active: false });
    },
  },
  {
    what: 'a revoked refresh token ends its access token',
    run: async (realm) => {
      const { access_token, refresh_token } = await login(realm);
      assert.equal((await introspect(realm, access_token)).active, true);
      await revoke(realm, realm.teller, refresh_token);
      assert.deepEqual(await introspect(realm, access_token), { active: false });
      await refused(realm, 'refreshToken', refresh(realm, refresh_token));
    },
  },
  {
    what: 'revocation of what is no token is no error',
    dialect: 'rfc',
    run: (realm) => revoke(realm, realm.service, 'nonsense'),
  },

  // DPoP
  {
    what: 'an API accepts a token that is bound to a key (RFC 9449)',
    dialect: 'rfc',
    run: async (realm) => {
      const as = await discover(realm);
      const DPoP = await newKey(realm);
      const token = await ordinary(realm, {}, { DPoP });
      assert.equal(token.token_type, 'dpop');
      const request = await bound(token.access_token, DPoP);
      await oauth.validateJwtAccessToken(as, request, realm.audience, { requireDPoP: true });
    },
  },
  {
    what: 'a token that is bound to a key is not accepted without it',
    dialect: 'rfc',
    run: async (realm) => {
      const as = await discover(realm);
      const token = await ordinary(realm, {}, { DPoP: await newKey(realm) });
      const other = await newKey(realm);
      for (const request of [asked(token.access_token), await bound(token.access_token, other)]) {
        await assert.rejects(oauth.validateJwtAccessToken(as, request, realm.audience));
      }
    },
  },
];
