// oauth4webapi, beyond RFC 6749: resources, tokens of others, certificates, registration, FAPI 2.0.

import assert from 'node:assert/strict';

import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, exportJWK, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';

import { foreign, key, privateKey, refused, thumbprint, withCertificate } from './realm.mjs';
import { asked, bound, discover, introspect, obtain, ordinary } from './with-oauth4webapi.mjs';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ACCESS = 'urn:ietf:params:oauth:token-type:access_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';

/** A token by a grant that the library has no function for. */
async function gateway(realm, grant, parameters) {
  const as = await discover(realm);
  const client = { client_id: realm.gateway.id };
  const authentication = oauth.ClientSecretBasic(realm.gateway.secret);
  const response = await oauth.genericTokenEndpointRequest(as, client, authentication, grant, parameters);
  return oauth.processGenericTokenEndpointResponse(as, client, response);
}

/** An access token of this realm as a subject token. */
function subject(token) {
  return { subject_token: token, subject_token_type: ACCESS };
}

/** A client whose assertion somebody else has signed. */
function byAssertion(assertion) {
  return (_as, client, body) => {
    body.set('client_id', client.client_id);
    body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    body.set('client_assertion', assertion);
  };
}

async function pod(realm, subject, audience = realm.issuer) {
  const assertion = await foreign(realm.cluster, subject, audience);
  return obtain(realm, realm.pod.id, byAssertion(assertion));
}

function byCertificate(realm, { id }, presented) {
  const options = { [oauth.customFetch]: withCertificate(presented) };
  return obtain(realm, id, oauth.TlsClientAuth(), {}, options);
}

async function register(realm, metadata, options = {}) {
  const { id, secret } = realm.registrar;
  const { access_token } = await obtain(realm, id, oauth.ClientSecretBasic(secret));
  const as = await discover(realm);
  options = { initialAccessToken: access_token, ...options };
  const response = await oauth.dynamicClientRegistrationRequest(as, metadata, options);
  return oauth.processDynamicClientRegistrationResponse(response);
}

/** A token of the strict realm, bound to a key; the server wants a nonce, and a client that has none is told one. */
async function strictly(realm, algorithm, proving = 'ES256', name) {
  const client = { client_id: realm.signer.id };
  const proof = { key: await privateKey(realm, algorithm), kid: key(realm, algorithm).kid };
  const modify = { [oauth.modifyAssertion]: (header) => (header.alg = name ?? header.alg) };
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(proving));
  const ask = () => obtain(realm, client.client_id, oauth.PrivateKeyJwt(proof, modify), {}, { DPoP });
  await assert.rejects(ask(), oauth.isDPoPNonceError);
  return [await ask(), DPoP];
}

async function accepted(realm, [token, DPoP]) {
  const request = await bound(token.access_token, DPoP);
  const options = { requireDPoP: true };
  return oauth.validateJwtAccessToken(await discover(realm), request, realm.audience, options);
}

export const cases = [
  // Resources
  {
    what: 'a token for a resource (RFC 8707)',
    run: async (realm) => {
      const { access_token, scope } = await ordinary(realm, { resource: realm.resource });
      assert.deepEqual([decodeJwt(access_token).aud, scope], [realm.resource, 'read']);
    },
  },
  {
    what: 'the API of that resource accepts it, and another does not',
    dialect: 'rfc',
    run: async (realm) => {
      const { access_token } = await ordinary(realm, { resource: realm.resource });
      const as = await discover(realm);
      await oauth.validateJwtAccessToken(as, asked(access_token), realm.resource);
      const other = oauth.validateJwtAccessToken(as, asked(access_token), realm.audience);
      await assert.rejects(other, /"aud"/);
    },
  },
  {
    what: 'an unknown resource is refused',
    run: (realm) => refused(realm, 'resource', ordinary(realm, { resource: 'https://other.example' })),
  },

  // Tokens of others
  {
    what: 'token exchange, for a resource (RFC 8693)',
    dialect: 'rfc',
    run: async (realm) => {
      const { access_token } = await ordinary(realm);
      const parameters = { ...subject(access_token), resource: realm.resource };
      const token = await gateway(realm, EXCHANGE, parameters);
      assert.equal(token.issued_token_type, ACCESS);
      const as = await discover(realm);
      const claims = await oauth.validateJwtAccessToken(as, asked(token.access_token), realm.resource);
      assert.deepEqual([claims.sub, claims.client_id], [realm.service.id, realm.gateway.id]);
    },
  },
  {
    what: 'token exchange with an actor',
    dialect: 'rfc',
    run: async (realm) => {
      const [{ access_token }, actor] = [await ordinary(realm), await ordinary(realm)];
      const parameters = { actor_token: actor.access_token, actor_token_type: ACCESS };
      const token = await gateway(realm, EXCHANGE, { ...subject(access_token), ...parameters });
      assert.deepEqual(decodeJwt(token.access_token).act, { sub: realm.service.id });
    },
  },
  {
    what: 'token exchange of a token of another issuer',
    dialect: 'rfc',
    run: async (realm) => {
      const job = await foreign(realm.ci, 'job-1', realm.issuer);
      const token = await gateway(realm, EXCHANGE, { subject_token: job, subject_token_type: JWT });
      assert.equal(decodeJwt(token.access_token).sub, 'ci:job-1');
    },
  },
  {
    what: 'what is no token is not exchanged',
    dialect: 'rfc',
    run: (realm) => refused(realm, 'subject', gateway(realm, EXCHANGE, subject('nonsense'))),
  },
  {
    what: 'a token of another issuer is a grant (RFC 7523)',
    dialect: 'rfc',
    run: async (realm) => {
      const job = await foreign(realm.ci, 'job-1', realm.issuer);
      const token = await gateway(realm, BEARER, { assertion: job, scope: 'read' });
      assert.equal(decodeJwt(token.access_token).sub, 'ci:job-1');
    },
  },
  {
    what: 'a token of an issuer that only proves clients is no grant',
    dialect: 'rfc',
    run: async (realm) => {
      const job = await foreign(realm.cluster, realm.pod.subject, realm.issuer);
      await refused(realm, 'bearer', gateway(realm, BEARER, { assertion: job }));
    },
  },
  {
    what: 'a client proves itself with the token of a cluster',
    run: async (realm) => {
      const token = await pod(realm, realm.pod.subject);
      assert.equal(decodeJwt(token.access_token).client_id, realm.pod.id);
    },
  },
  {
    what: 'the token of another pod, or for another server, is refused',
    run: async (realm) => {
      await refused(realm, 'assertion', pod(realm, `${realm.pod.subject}2`));
      await refused(realm, 'assertion', pod(realm, realm.pod.subject, 'https://other.example'));
    },
  },

  // Certificates
  {
    what: 'tls_client_auth, and the token is bound to the certificate (RFC 8705)',
    run: async (realm) => {
      const { access_token, token_type } = await byCertificate(realm, realm.holder, realm.holder);
      const { cnf } = decodeJwt(access_token);
      assert.deepEqual([token_type, cnf], ['bearer', { 'x5t#S256': thumbprint(realm.holder) }]);
    },
  },
  {
    what: 'self_signed_tls_client_auth',
    run: (realm) => byCertificate(realm, realm.loner, realm.loner),
  },
  {
    what: 'the certificate of another is refused',
    run: async (realm) => {
      await refused(realm, 'certificate', byCertificate(realm, realm.holder, realm.loner));
      await refused(realm, 'certificate', byCertificate(realm, realm.loner, realm.holder));
    },
  },
  {
    what: 'a token bound to a certificate is one that it knows it cannot check',
    dialect: 'rfc',
    run: async (realm) => {
      const { access_token } = await byCertificate(realm, realm.holder, realm.holder);
      const as = await discover(realm);
      const checked = oauth.validateJwtAccessToken(as, asked(access_token), realm.audience);
      await assert.rejects(checked, /Confirmation method/);
    },
  },

  // Opaque tokens, algorithms
  {
    what: 'an API introspects an opaque token, and the answer is signed',
    run: async (realm) => {
      const { id, secret } = realm.opaque;
      const { access_token } = await obtain(realm, id, oauth.ClientSecretBasic(secret));
      assert.throws(() => decodeJwt(access_token));
      const answer = await introspect(realm, access_token, { requestJwtResponse: true });
      assert.deepEqual([answer.active, answer.client_id], [true, id]);
    },
  },
  ...['EdDSA', 'Ed25519'].map((name) => ({
    what: `private_key_jwt with ${name}`,
    run: async (realm) => {
      const proof = await privateKey(realm, 'EdDSA');
      const modify = { [oauth.modifyAssertion]: (header) => (header.alg = name) };
      await obtain(realm, realm.signer.id, oauth.PrivateKeyJwt(proof, modify));
    },
  })),
  {
    what: 'an API accepts a token that is signed with EdDSA',
    dialect: 'rfc',
    run: async (realm) => {
      const { id, secret } = realm.edwards;
      const { access_token } = await obtain(realm, id, oauth.ClientSecretBasic(secret));
      assert.equal(decodeProtectedHeader(access_token).alg, 'EdDSA');
      await oauth.validateJwtAccessToken(await discover(realm), asked(access_token), realm.audience);
    },
  },

  // Registration
  {
    what: 'a client registers itself, and has a token (RFC 7591)',
    dialect: 'rfc',
    run: async (realm) => {
      const metadata = { client_name: 'Nightly', grant_types: ['client_credentials'], scope: 'read' };
      const { client_id, client_secret } = await register(realm, metadata);
      const token = await obtain(realm, client_id, oauth.ClientSecretBasic(client_secret));
      assert.equal(token.scope, 'read');
    },
  },
  {
    what: 'a client registers its keys, and has a token',
    dialect: 'rfc',
    run: async (realm) => {
      const pair = await oauth.generateKeyPair('ES256', { extractable: true });
      const jwk = { ...(await exportJWK(pair.publicKey)), alg: 'ES256', use: 'sig' };
      const metadata = { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } };
      const { client_id, client_secret } = await register(realm, metadata);
      assert.equal(client_secret, undefined);
      await obtain(realm, client_id, oauth.PrivateKeyJwt(pair.privateKey));
    },
  },
  {
    what: 'who has no token to register with is refused',
    dialect: 'rfc',
    run: async (realm) => {
      const refusal = register(realm, {}, { initialAccessToken: 'nonsense' });
      await assert.rejects(refusal, { status: 401 });
    },
  },

  // FAPI 2.0
  ...[
    ['PS256', 'ES256'],
    ['ES256', 'ES256'],
    ['EdDSA', 'Ed25519', 'Ed25519'],
    ['EdDSA', 'Ed25519', 'EdDSA'],
  ].map(([algorithm, proving, name = algorithm]) => ({
    what: `FAPI 2.0 with ${name} and DPoP with a nonce and ${proving}, and an API accepts the token`,
    profile: 'fapi2',
    run: async (realm) => {
      const claims = await accepted(realm, await strictly(realm, algorithm, proving, name));
      assert.equal(claims.client_id, realm.signer.id);
    },
  })),
  {
    what: 'FAPI 2.0: a token is signed with Ed25519 by that name, and jose verifies it',
    profile: 'fapi2',
    run: async (realm) => {
      const [{ access_token }] = await strictly(realm, 'ES256');
      assert.equal(decodeProtectedHeader(access_token).alg, 'Ed25519');
      const { jwks_uri } = await discover(realm);
      await jwtVerify(access_token, createRemoteJWKSet(new URL(jwks_uri)), { issuer: realm.issuer });
    },
  },
  {
    what: 'FAPI 2.0: without a proof there is no token',
    profile: 'fapi2',
    run: async (realm) => {
      const proof = await privateKey(realm, 'ES256');
      await refused(realm, 'proof', obtain(realm, realm.signer.id, oauth.PrivateKeyJwt(proof)));
    },
  },
  {
    what: 'FAPI 2.0: a certificate is as good as a proof',
    profile: 'fapi2',
    run: async (realm) => {
      const { access_token } = await byCertificate(realm, realm.holder, realm.holder);
      assert.equal(decodeJwt(access_token).cnf['x5t#S256'], thumbprint(realm.holder));
    },
  },
];
