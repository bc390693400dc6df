// A real Keycloak, as the scenes see a server: it can be stopped, started, and given other keys.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { output, start, until } from './children.mjs';
import { freePort } from './node-server.mjs';

/** What installing it and starting it may take, on one core where other work is under way. */
const FETCH_SECS = 75;
const INSTALL_SECS = 150;
const READY_SECS = 150;

const REALM = 'keeper';
const KEYS = 'org.keycloak.keys.KeyProvider';

/** Keycloak cannot be had here, or not in time. */
export class Unavailable extends Error {}

export class KeycloakServer {
  name = 'Keycloak';
  secret = randomBytes(24).toString('base64url');
  audience = 'https://api.example';
  /** A restart takes half a minute and more: nothing of the second kind falls due in it. */
  lifetimes = { short: 10, long: 600 };
  renewsInOutages = false;
  #script;
  #folder;
  #logs;
  #realms;
  #root;
  #process;
  #password = randomBytes(24).toString('base64url');

  static async of(script, folder, logs, clients) {
    const server = new KeycloakServer();
    [server.#script, server.#folder, server.#logs] = [script, folder, logs];
    try {
      await output('keycloak-fetch', 'sh', [script, 'fetch', folder], { logs, seconds: FETCH_SECS });
      await output('keycloak-install', 'sh', [script, 'install', folder], { logs, seconds: INSTALL_SECS });
      server.#root = `http://127.0.0.1:${await freePort()}`;
      server.#declare(clients(server.lifetimes));
      await server.start();
    } catch (error) {
      await server.end();
      throw new Unavailable(error.message);
    }
    return server;
  }

  get issuer() {
    return `${this.#root}/realms/${REALM}`;
  }

  get jwksUri() {
    return `${this.issuer}/protocol/openid-connect/certs`;
  }

  /** How many tokens a client was granted since the server was started. */
  async granted(client) {
    const events = await this.#admin('GET', `/events?type=CLIENT_LOGIN&max=1000&client=${client}`);
    return events.length;
  }

  /** Starts it with the realm as declared, and with the key that stands there: its database is in memory. */
  async start() {
    const port = new URL(this.#root).port;
    this.#process = start('keycloak', 'sh', [this.#script, 'start', this.#folder, port, this.#realms], {
      logs: this.#logs,
      env: { KC_BOOTSTRAP_ADMIN_USERNAME: 'admin', KC_BOOTSTRAP_ADMIN_PASSWORD: this.#password },
    });
    const failed = this.#process.ended.then((code) => { throw new Error(`Keycloak ended with ${code}`); });
    const answers = () => fetch(this.issuer).then((answer) => answer.ok, () => false);
    await Promise.race([failed, until('Keycloak answers', READY_SECS, answers)]);
  }

  async stop() {
    await this.#process.end();
  }

  /** What has it sign with another key, and publish the old one no longer. */
  async otherKeys() {
    const [old] = await this.#admin('GET', `/components?type=${KEYS}&name=first`);
    const config = { ...old.config, enabled: ['false'], active: ['false'] };
    return async () => {
      await this.#admin('POST', '/components', {
        name: 'second', parentId: old.parentId, providerType: KEYS, providerId: 'rsa-generated',
        config: { priority: ['200'], algorithm: ['RS256'] },
      });
      await this.#admin('PUT', `/components/${old.id}`, { ...old, config });
    };
  }

  async end() {
    await this.#process?.end();
  }

  #declare(lifetimes) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
    const audience = {
      name: 'audience', protocol: 'openid-connect', protocolMapper: 'oidc-audience-mapper',
      config: { 'included.custom.audience': this.audience, 'access.token.claim': 'true' },
    };
    const realm = {
      realm: REALM,
      enabled: true,
      sslRequired: 'none',
      eventsEnabled: true,
      enabledEventTypes: ['CLIENT_LOGIN'],
      components: {
        [KEYS]: [{
          name: 'first', providerId: 'rsa', config: { priority: ['100'], algorithm: ['RS256'], privateKey: [pem] },
        }],
      },
      clients: Object.entries(lifetimes).map(([clientId, seconds]) => ({
        clientId,
        secret: this.secret,
        publicClient: false,
        serviceAccountsEnabled: true,
        standardFlowEnabled: false,
        attributes: { 'access.token.lifespan': String(seconds) },
        protocolMappers: [audience],
      })),
    };
    this.#realms = join(this.#logs, 'realms');
    mkdirSync(this.#realms, { mode: 0o700 });
    writeFileSync(join(this.#realms, `${REALM}-realm.json`), JSON.stringify(realm), { mode: 0o600 });
  }

  async #admin(method, path, body) {
    const form = { grant_type: 'password', client_id: 'admin-cli', username: 'admin', password: this.#password };
    const url = `${this.#root}/realms/master/protocol/openid-connect/token`;
    const { access_token: token } = await json(url, { method: 'POST', body: new URLSearchParams(form) });
    return json(`${this.#root}/admin/realms/${REALM}${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: body && JSON.stringify(body),
    });
  }
}

async function json(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  if (!response.ok) throw new Error(`${options.method} ${new URL(url).pathname}: ${response.status} ${text}`);
  return text && JSON.parse(text);
}
