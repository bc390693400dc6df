// What the cases of all libraries say about a realm.

import assert from 'node:assert/strict';

/** What each dialect calls what is wrong: status and code. */
export const WRONG = {
  rfc: {
    body: [400, 'invalid_request'],
    secret: [401, 'invalid_client'],
    assertion: [401, 'invalid_client'],
    scope: [400, 'invalid_scope'],
    grant: [400, 'unauthorized_client'],
    refreshToken: [400, 'invalid_grant'],
    password: [400, 'invalid_grant'],
  },
  keycloak: {
    body: [400, 'invalid_request'],
    secret: [401, 'unauthorized_client'],
    assertion: [400, 'invalid_client'],
    scope: [400, 'invalid_scope'],
    grant: [401, 'unauthorized_client'],
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
  if (!(error.response instanceof Response)) throw error;
  return { status: error.response.status, error: (await error.response.clone().json()).error };
}

/** The key of the client `signer` for an algorithm, as Web Crypto has it. */
export function privateKey(realm, algorithm, importPKCS8) {
  return importPKCS8(key(realm, algorithm).pem, algorithm);
}

export function key(realm, algorithm) {
  return realm.signer.keys.find((key) => key.algorithm === algorithm);
}
