// node-oidc-provider, with the tokens that the scenes are about. It runs within this process.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import { SignJWT } from 'jose';
import Provider from 'oidc-provider';

import { freePort } from '../node-server.mjs';

export const API = 'https://api.example';
export const OTHER_API = 'https://other.example';

/** What a token may allow. */
const SCOPES = ['orders:read', 'orders:write'];

const CURVES = {
  ES256: ['ec', { namedCurve: 'P-256' }],
  RS256: ['rsa', { modulusLength: 2048 }],
  EdDSA: ['ed25519', {}],
};

/** How tokens are signed. */
export const ALGORITHMS = Object.keys(CURVES);

/** A client for each kind of token, and one that introspects. Seconds are whole, and one may be over at once. */
const CLIENTS = {
  ...Object.fromEntries(ALGORITHMS.map((alg) => [alg, { alg }])),
  brief: { alg: 'ES256', lifetime: 2 },
  opaque: {},
  api: {},
};

export class Issuer {
  #secret = randomBytes(24).toString('base64url');
  #keys = ALGORITHMS.map(newKey);
  #provider;
  #server = createServer((request, response) => this.#provider.callback()(request, response));
  #port;

  static async of() {
    const issuer = new Issuer();
    issuer.#port = await freePort();
    issuer.#configure();
    await issuer.start();
    return issuer;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** For a client that introspects. */
  get secret() {
    return this.#secret;
  }

  async start() {
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject).listen(this.#port, '127.0.0.1', resolve);
    });
  }

  async stop() {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Signs with other keys from now on; the old ones are published as long as they are kept. */
  rotate({ keep }) {
    this.#keys = [...ALGORITHMS.map(newKey), ...(keep ? this.#keys : [])];
    this.#configure();
  }

  /** A token of a client; with `proof`, a function of method and address, it is bound to the key of that. */
  async token(client, { scope, resource = API, proof } = {}) {
    const url = `${this.url}/token`;
    const form = { grant_type: 'client_credentials', resource, ...(scope && { scope }) };
    const headers = proof ? { DPoP: await proof('POST', url) } : {};
    const { access_token: token, token_type: type } = await this.#post(url, client, form, headers);
    if (type !== (proof ? 'DPoP' : 'Bearer')) throw new Error(`the type of the token is ${type}`);
    return token;
  }

  async revoke(client, token) {
    await this.#post(`${this.url}/token/revocation`, client, { token });
  }

  /** What it would sign if it were told to: claims and a header of our choice. */
  sign(claims, header) {
    const jwk = this.#keys.find(({ alg }) => alg === 'ES256');
    return new SignJWT(claims).setProtectedHeader({ alg: jwk.alg, kid: jwk.kid, ...header }).sign(jwk);
  }

  async #post(url, client, form, headers = {}) {
    const authorization = `Basic ${Buffer.from(`${client}:${this.#secret}`).toString('base64')}`;
    const response = await fetch(url, {
      method: 'POST', headers: { Authorization: authorization, ...headers }, body: new URLSearchParams(form),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${new URL(url).pathname}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  }

  #configure() {
    this.#provider = new Provider(this.url, {
      clients: Object.keys(CLIENTS).map((client_id) => ({
        client_id,
        client_secret: this.#secret,
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        scope: SCOPES.join(' '),
      })),
      jwks: { keys: this.#keys },
      scopes: SCOPES,
      clientDefaults: { id_token_signed_response_alg: 'ES256' },
      features: {
        clientCredentials: { enabled: true },
        devInteractions: { enabled: false },
        dPoP: { enabled: true },
        introspection: { enabled: true, allowedPolicy: (context, client) => client.clientId === 'api' },
        revocation: { enabled: true, allowedPolicy: (context, client, token) => client.clientId === token.clientId },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (context, audience, { clientId }) => {
            const { alg, lifetime = 600 } = CLIENTS[clientId];
            const format = alg ? { accessTokenFormat: 'jwt', jwt: { sign: { alg } } } : { accessTokenFormat: 'opaque' };
            return { audience, scope: SCOPES.join(' '), accessTokenTTL: lifetime, ...format };
          },
        },
      },
    });
  }
}

function newKey(alg) {
  const { privateKey } = generateKeyPairSync(...CURVES[alg]);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomBytes(6).toString('hex') };
}
