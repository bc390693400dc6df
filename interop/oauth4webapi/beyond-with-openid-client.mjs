// openid-client, beyond RFC 6749: resources, tokens of others, certificates, registration, FAPI 2.0.

import assert from 'node:assert/strict';

import { decodeJwt } from 'jose';
import * as client from 'openid-client';

import { foreign, key, privateKey, refused, thumbprint, withCertificate } from './realm.mjs';
import { discover } from './with-openid-client.mjs';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ACCESS = 'urn:ietf:params:oauth:token-type:access_token';

async function byCertificate(realm, registered, presented) {
  const options = { [client.customFetch]: withCertificate(presented) };
  const config = await discover(realm, registered, client.TlsClientAuth(), options);
  return client.clientCredentialsGrant(config);
}

async function registering(realm) {
  return client.clientCredentialsGrant(await discover(realm, realm.registrar));
}

/** It asks again by itself where the server wants a nonce. */
async function strictly(realm, algorithm) {
  const { kid } = key(realm, algorithm);
  const proof = client.PrivateKeyJwt({ key: await privateKey(realm, algorithm), kid });
  const config = await discover(realm, realm.signer, proof);
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair());
  return client.clientCredentialsGrant(config, {}, { DPoP });
}

export const cases = [
  {
    what: 'a token for a resource (RFC 8707), and none for an unknown one',
    run: async (realm) => {
      const config = await discover(realm, realm.service);
      const token = await client.clientCredentialsGrant(config, { resource: realm.resource });
      assert.equal(decodeJwt(token.access_token).aud, realm.resource);
      const unknown = client.clientCredentialsGrant(config, { resource: 'https://other.example' });
      await refused(realm, 'resource', unknown);
    },
  },
  {
    what: 'token exchange (RFC 8693)',
    dialect: 'rfc',
    run: async (realm) => {
      const own = await client.clientCredentialsGrant(await discover(realm, realm.service));
      const parameters = { subject_token: own.access_token, subject_token_type: ACCESS };
      const config = await discover(realm, realm.gateway);
      const token = await client.genericGrantRequest(config, EXCHANGE, parameters);
      assert.equal(token.issued_token_type, ACCESS);
      const { sub, client_id } = decodeJwt(token.access_token);
      assert.deepEqual([sub, client_id], [realm.service.id, realm.gateway.id]);
    },
  },
  {
    what: 'a token of another issuer is a grant (RFC 7523)',
    dialect: 'rfc',
    run: async (realm) => {
      const assertion = await foreign(realm.ci, 'job-1', realm.issuer);
      const config = await discover(realm, realm.gateway);
      const token = await client.genericGrantRequest(config, BEARER, { assertion });
      assert.equal(decodeJwt(token.access_token).sub, 'ci:job-1');
    },
  },
  {
    what: 'a client proves itself with the token of a cluster',
    run: async (realm) => {
      const assertion = await foreign(realm.cluster, realm.pod.subject, realm.issuer);
      const proof = (_as, { client_id }, body) => {
        body.set('client_id', client_id);
        body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
        body.set('client_assertion', assertion);
      };
      await client.clientCredentialsGrant(await discover(realm, realm.pod, proof));
    },
  },
  {
    what: 'tls_client_auth, and the token is bound to the certificate (RFC 8705)',
    run: async (realm) => {
      const { access_token } = await byCertificate(realm, realm.holder, realm.holder);
      assert.equal(decodeJwt(access_token).cnf['x5t#S256'], thumbprint(realm.holder));
    },
  },
  {
    what: 'self_signed_tls_client_auth, and the certificate of another is refused',
    run: async (realm) => {
      await byCertificate(realm, realm.loner, realm.loner);
      await refused(realm, 'certificate', byCertificate(realm, realm.loner, realm.holder));
    },
  },
  {
    what: 'an API introspects an opaque token',
    run: async (realm) => {
      const { access_token } = await client.clientCredentialsGrant(await discover(realm, realm.opaque));
      assert.throws(() => decodeJwt(access_token));
      const answer = await client.tokenIntrospection(await discover(realm, realm.api), access_token);
      assert.deepEqual([answer.active, answer.client_id], [true, realm.opaque.id]);
    },
  },
  {
    what: 'a client registers itself, and has a token (RFC 7591)',
    dialect: 'rfc',
    run: async (realm) => {
      const { access_token: initialAccessToken } = await registering(realm);
      const issuer = new URL(realm.issuer);
      const metadata = { client_name: 'Nightly', grant_types: ['client_credentials'] };
      const options = { initialAccessToken };
      const config = await client.dynamicClientRegistration(issuer, metadata, undefined, options);
      const token = await client.clientCredentialsGrant(config);
      assert.equal(token.scope, 'read');
    },
  },
  ...['PS256', 'ES256', 'EdDSA'].map((algorithm) => ({
    what: `FAPI 2.0 with ${algorithm} and DPoP, the nonce asked for by itself`,
    profile: 'fapi2',
    run: async (realm) => {
      const token = await strictly(realm, algorithm);
      assert.equal(token.token_type, 'dpop');
      assert.equal(typeof decodeJwt(token.access_token).cnf.jkt, 'string');
    },
  })),
  {
    what: 'FAPI 2.0 with a certificate',
    profile: 'fapi2',
    run: async (realm) => {
      const { access_token } = await byCertificate(realm, realm.holder, realm.holder);
      assert.equal(decodeJwt(access_token).cnf['x5t#S256'], thumbprint(realm.holder));
    },
  },
];
