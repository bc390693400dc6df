// node-oidc-provider, as the scenes see a server: it can be stopped, started, and given other keys.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { start } from './children.mjs';

const PROGRAM = fileURLToPath(new URL('oidc-provider.mjs', import.meta.url));

/** How many processes there were, for the names of their logs. */
let count = 0;

export class NodeServer {
  name = 'node-oidc-provider';
  secret = randomBytes(24).toString('base64url');
  audience = 'https://api.example';
  /** A token of the second kind falls due during an outage that the first does not survive. */
  lifetimes = { short: 6, long: 20 };
  renewsInOutages = true;
  #logs;
  #granted = [];
  #jwks = keys();
  #port;
  #process;
  #next;

  static async of(logs, clients) {
    const server = new NodeServer();
    server.#logs = logs;
    server.#port = await freePort();
    server.clients = clients(server.lifetimes);
    server.#next = server.#standBy();
    await server.start();
    return server;
  }

  get issuer() {
    return `http://127.0.0.1:${this.#port}`;
  }

  get jwksUri() {
    return `${this.issuer}/jwks`;
  }

  /** How many tokens a client was granted. */
  async granted(client) {
    return this.#granted.filter((one) => one === client).length;
  }

  /** Starts with the keys that it has. */
  async start() {
    const next = await this.#next;
    next.tell('listen');
    await next.heard('listening');
    this.#process = next;
    this.#next = this.#standBy();
  }

  async stop() {
    // Whoever follows is ready before.
    await this.#next;
    await this.#process.end();
  }

  /** Makes other keys; what restarts it with them. */
  async otherKeys() {
    const last = await this.#next;
    this.#jwks = keys();
    this.#next = this.#standBy();
    await Promise.all([this.#next, last.end()]);
    return async () => {
      await this.stop();
      await this.start();
    };
  }

  async end() {
    await Promise.all([this.#process.end(), this.#next.then((next) => next.end())]);
  }

  async #standBy() {
    const file = join(this.#logs, `oidc-provider-${this.#port}.json`);
    const { secret, audience, clients: lifetimes } = this;
    const settings = { port: this.#port, secret, audience, lifetimes, jwks: this.#jwks };
    writeFileSync(file, JSON.stringify(settings), { mode: 0o600 });
    count += 1;
    const child = start(`oidc-provider-${count}`, process.execPath, [PROGRAM, file], {
      logs: this.#logs,
      line: (client) => this.#granted.push(client),
      channel: true,
    });
    await child.heard('standing by');
    return child;
  }
}

function keys() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const kid = randomBytes(6).toString('hex');
  return { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid }] };
}

/** A port that nobody has: an issuer names it before it listens there. */
export async function freePort() {
  const listener = createServer();
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}
