// An API that verifies tokens by itself, with jose.

import { createServer } from 'node:http';

import { createLocalJWKSet, decodeJwt, errors, jwtVerify } from 'jose';

/** How often the keys are fetched: a key that was withdrawn is believed for no longer. */
const FETCH_MS = 1000;

/** An API that remembers whom it saw: `{ at, client, status }`. */
export class Api {
  seen = [];
  #issuer;
  #audience;
  #jwksUri;
  #keys;
  #fetching;
  #timer;
  #server;

  static async of({ issuer, audience, jwksUri }) {
    const api = new Api();
    [api.#issuer, api.#audience, api.#jwksUri] = [issuer, audience, jwksUri];
    await api.#fetch();
    if (!api.#keys) throw new Error(`no keys at ${jwksUri}`);
    api.#timer = setInterval(() => api.#fetch(), FETCH_MS);
    api.#server = createServer((request, response) => api.#answer(request, response));
    await new Promise((resolve) => api.#server.listen(0, '127.0.0.1', resolve));
    return api;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** How often a client was answered so since then. */
  count(client, status, since = 0) {
    return this.seen.filter((one) => one.client === client && one.status === status && one.at >= since).length;
  }

  /** Requests that came without a token. */
  get naked() {
    return this.seen.filter((one) => one.client === undefined).length;
  }

  async end() {
    clearInterval(this.#timer);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Fetches the keys, once for all who ask meanwhile. While the server is away, the last ones stay. */
  #fetch() {
    this.#fetching ??= fetch(this.#jwksUri, { signal: AbortSignal.timeout(5 * FETCH_MS) })
      .then(async (response) => {
        if (response.ok) this.#keys = createLocalJWKSet(await response.json());
      })
      .catch(() => {})
      .finally(() => {
        this.#fetching = undefined;
      });
    return this.#fetching;
  }

  async #answer(request, response) {
    const at = Date.now();
    const [, token] = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
    let why = token ? undefined : '';
    if (token) {
      try {
        await this.#verify(token);
      } catch (error) {
        why = ` error="invalid_token", error_description="${error.code ?? error.message}"`;
      }
    }
    const status = why === undefined ? 200 : 401;
    this.seen.push({ at, status, client: token && clientOf(token), why });
    // RFC 6750 §3: no error where there was no token.
    response.writeHead(status, why === undefined ? {} : { 'WWW-Authenticate': `Bearer${why}` }).end();
  }

  async #verify(token) {
    const options = { issuer: this.#issuer, audience: this.#audience };
    try {
      await jwtVerify(token, this.#keys, options);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      // Perhaps a new one.
      await this.#fetch();
      await jwtVerify(token, this.#keys, options);
    }
  }
}

/** Whose token it says that it is. Keycloak says it by `azp`. */
function clientOf(token) {
  try {
    const claims = decodeJwt(token);
    return claims.client_id ?? claims.azp ?? 'nobody';
  } catch {
    return 'nobody';
  }
}
