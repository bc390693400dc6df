// `tokenry verify`, asked as nginx asks it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { start, until } from '../children.mjs';
import { API } from './provider.mjs';

/** How long it may take until it has keys, on a machine with other work. */
const READY_SECS = 30;

/** What needs which scope. */
const RULES = `
[[rules]]
path = "/"

[[rules]]
path = "/orders"
methods = ["GET"]
scopes = ["orders:read"]

[[rules]]
path = "/orders"
scopes = ["orders:write"]
`;

export class Door {
  #url;
  #process;

  /** Starts one for the tokens of an issuer; `more` is TOML behind what `[[issuers]]` says of that. */
  static async of(name, issuer, { tokenry, logs }, more = '') {
    const door = new Door();
    const file = join(logs, `${name}.toml`);
    const text = `
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"

[proxy]
kind = "nginx"
${RULES}
[[issuers]]
issuer = ${JSON.stringify(issuer.url)}
audiences = [${JSON.stringify(API)}]
leeway = "0s"
allow_plain_http = true
${more}`;
    writeFileSync(file, text, { mode: 0o600 });
    let listening;
    const said = new Promise((resolve) => (listening = resolve));
    const args = ['verify', '--config', file, '--output', 'json'];
    door.#process = start(`verify-${name}`, tokenry, args, { logs, line: (line) => listening(line) });
    const line = await Promise.race([said, door.#process.ended]);
    if (typeof line !== 'string' || !line.startsWith('{')) throw new Error(`tokenry verify ended with ${line}`);
    const at = JSON.parse(line);
    door.#url = at.listening;
    await until('tokenry verify has keys', READY_SECS, () => fetch(new URL('/health', at.admin)).then(({ ok }) => ok));
    return door;
  }

  /** What nginx is told of a request, which is for GET where nobody says. */
  async ask(path, authorization, { method = 'GET', proof } = {}) {
    const headers = { 'X-Original-Method': method, 'X-Original-URI': path };
    if (authorization) headers.Authorization = authorization;
    if (proof) headers.DPoP = proof;
    const { status, headers: told } = await fetch(this.#url, { headers });
    return { status, ...Object.fromEntries(told) };
  }

  end() {
    return this.#process.end();
  }
}
