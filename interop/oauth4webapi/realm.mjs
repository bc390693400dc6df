// What the cases of all libraries say about a realm.

import assert from 'node:assert/strict';
import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { SignJWT, importPKCS8 } from 'jose';
import { Agent, fetch as fetchWith } from 'undici';

/** What each dialect calls what is wrong: status and code. */
export const WRONG = {
  rfc: {
    body: [400, 'invalid_request'],
    secret: [401, 'invalid_client'],
    assertion: [401, 'invalid_client'],
    scope: [400, 'invalid_scope'],
    grant: [400, 'unauthorized_client'],
    certificate: [401, 'invalid_client'],
    resource: [400, 'invalid_target'],
    bearer: [400, 'invalid_grant'],
    subject: [400, 'invalid_request'],
    proof: [400, 'invalid_dpop_proof'],
    refreshToken: [400, 'invalid_grant'],
    password: [400, 'invalid_grant'],
  },
  keycloak: {
    body: [400, 'invalid_request'],
    secret: [401, 'unauthorized_client'],
    assertion: [400, 'invalid_client'],
    scope: [400, 'invalid_scope'],
    grant: [401, 'unauthorized_client'],
    certificate: [401, 'invalid_client'],
    resource: [400, 'invalid_target'],
    refreshToken: [400, 'invalid_grant'],
    password: [401, 'invalid_grant'],
  },
};

/** What `service` is granted: Keycloak adds what a client has by default, and keeps `openid`. */
export const GRANTED = {
  rfc: { write: 'write', 'openid read': 'read' },
  keycloak: { write: 'read write', 'openid read': 'openid read' },
};

/** That a request is refused for this, and the library says so. */
export async function refused(realm, what, request) {
  const error = await request.then(
    () => assert.fail(`what has a wrong ${what} was granted`),
    (error) => error,
  );
  if (error instanceof assert.AssertionError) throw error;
  // With a 401 there is a challenge (RFC 9110 §15.5.2), and oauth4webapi tells of that instead of the body.
  const told = error.error ? error : await bodyOf(error);
  assert.deepEqual([told.status, told.error], WRONG[realm.dialect][what]);
}

async function bodyOf(error) {
  if (!error.response?.clone) throw error;
  return { status: error.response.status, error: (await error.response.clone().json()).error };
}

/** The key of the client `signer` for an algorithm, as Web Crypto has it. */
export function privateKey(realm, algorithm) {
  return importPKCS8(key(realm, algorithm).pem, algorithm);
}

export function key(realm, algorithm) {
  return realm.signer.keys.find((key) => key.algorithm === algorithm);
}

/** A token of another issuer. */
export async function foreign({ issuer, kid, pem }, subject, audience) {
  const token = new SignJWT().setProtectedHeader({ alg: 'ES256', kid });
  token.setIssuer(issuer).setSubject(subject).setAudience(audience).setIssuedAt().setExpirationTime('5m');
  return token.sign(await importPKCS8(pem, 'ES256'));
}

/** A `fetch` with the certificate of a client, as both libraries' documentation has it. */
export function withCertificate({ certificate, key }) {
  const connect = { cert: readFileSync(certificate), key: readFileSync(key) };
  const dispatcher = new Agent({ connect });
  return (url, options) => fetchWith(url, { ...options, dispatcher });
}

/** `x5t#S256` of the certificate (RFC 8705 §3.1). */
export function thumbprint({ certificate }) {
  const { raw } = new X509Certificate(readFileSync(certificate));
  return createHash('sha256').update(raw).digest('base64url');
}
