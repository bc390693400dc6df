// Programs that call the API all the time, each with its token from another part of the keeper.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { output, pause, start } from './children.mjs';

const READER = fileURLToPath(new URL('reader.mjs', import.meta.url));

/** How often a program asks, in milliseconds. */
export const EVERY_MS = 50;

/** What a program was answered: `{ at, took, status }`. */
class Program {
  calls = [];

  constructor(client, kind) {
    [this.client, this.kind] = [client, kind];
  }

  since(at) {
    return this.calls.filter((call) => call.at >= at);
  }

  /** Whether every one of the last calls went well. */
  isWell(since, last = 10) {
    if (this.problem) throw new Error(this.problem);
    const calls = this.since(since).sort((a, b) => a.at - b.at).slice(-last);
    return calls.length === last && calls.every((call) => call.status === 200);
  }
}

/** One that knows nothing of tokens: `tokenry proxy` does it for it. */
export class Proxied extends Program {
  #end = new AbortController();
  #proxy;

  static async of(client, { server, api, tokenry, logs }) {
    const program = new Proxied(client, 'proxy');
    let listening;
    const said = new Promise((resolve) => (listening = resolve));
    const args = ['proxy', '--listen', '127.0.0.1:0', '--upstream', api.url, '--admin', '127.0.0.1:0', '--issuer',
      server.issuer, '--client-id', client, '--output', 'json'];
    const env = { TOKENRY_CLIENT_SECRET: server.secret };
    program.#proxy = start(`proxy-${server.name}-${client}`, tokenry, args, { logs, env, line: (line) => listening(line) });
    const line = await Promise.race([said, program.#proxy.ended]);
    if (typeof line !== 'string' || !line.startsWith('{')) throw new Error(`tokenry proxy ended with ${line}`);
    const { listening: [{ url }], admin } = JSON.parse(line);
    program.admin = admin;
    program.#ask(url);
    return program;
  }

  /** A number of the proxy's metrics. */
  async metric(name) {
    const text = await (await fetch(new URL('/metrics', this.admin))).text();
    const line = text.split('\n').find((line) => line.startsWith(`tokenry_${name}_total`));
    if (!line) throw new Error(`no metric ${name} in ${text}`);
    return Number(line.split(' ').pop());
  }

  async end() {
    this.#end.abort();
    await this.#proxy.end();
  }

  async #ask(url) {
    const { signal } = this.#end;
    while (!signal.aborted) {
      this.#call(url, signal);
      await pause(EVERY_MS);
    }
  }

  async #call(url, signal) {
    const at = Date.now();
    let status;
    try {
      const response = await fetch(url, { signal });
      await response.arrayBuffer();
      status = response.status;
    } catch (error) {
      if (signal.aborted) return;
      status = error.cause?.code ?? error.message;
    }
    this.calls.push({ at, took: Date.now() - at, status });
  }
}

/** One that reads its token from the file of `tokenry exec`. */
export class Reading extends Program {
  #exec;

  static async of(client, { server, api, tokenry, logs }) {
    const program = new Reading(client, 'exec');
    const args = ['exec', '--no-agent', '--issuer', server.issuer, '--client-id', client, '--', process.execPath, READER,
      api.url, String(EVERY_MS)];
    const env = { TOKENRY_CLIENT_SECRET: server.secret };
    const line = (line) => program.calls.push(JSON.parse(line));
    program.#exec = start(`exec-${server.name}-${client}`, tokenry, args, { logs, env, line });
    program.#exec.ended.then((code) => (program.problem = `tokenry exec ended with ${code}`));
    return program;
  }

  end() {
    return this.#exec.end();
  }
}

/** A script that asks `tokenry token` before each call, and tells `tokenry invalidate` of a 401. An agent has the token. */
export class Scripted extends Program {
  #agent;
  #ended = false;
  #asking;

  static async of(client, { server, api, tokenry, logs }) {
    const program = new Scripted(client, 'agent');
    // The path of a socket must be short.
    const folder = mkdtempSync(join(tmpdir(), 'tokenry-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    const [file, socket] = ['agent.toml', 'agent.sock'].map((name) => join(folder, name));
    const token = { issuer: server.issuer, client_id: client, client_secret: 'env:KEEPER_SECRET' };
    const lines = Object.entries(token).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    writeFileSync(file, ['[tokens.api]', ...lines].join('\n'));
    const env = { KEEPER_SECRET: server.secret, TOKENRY_AGENT: socket };
    let listening;
    const said = new Promise((resolve) => (listening = resolve));
    const args = ['agent', '--config', file, '--socket', socket, '--output', 'json'];
    program.#agent = start(`agent-${server.name}-${client}`, tokenry, args, { logs, env, line: (line) => listening(line) });
    const line = await Promise.race([said, program.#agent.ended]);
    if (typeof line !== 'string' || !line.startsWith('{')) throw new Error(`tokenry agent ended with ${line}`);
    const run = (...args) => output(`script-${server.name}`, tokenry, args, { logs, env: { TOKENRY_AGENT: socket } });
    program.#asking = program.#ask(api.url, run);
    return program;
  }

  async end() {
    this.#ended = true;
    await this.#asking;
    await this.#agent.end();
  }

  async #ask(url, run) {
    while (!this.#ended) {
      const at = Date.now();
      let status;
      try {
        const token = await run('token', 'api');
        ({ status } = await fetch(url, { headers: { Authorization: `Bearer ${token}` } }));
        if (status === 401) await run('invalidate', 'api');
      } catch (error) {
        status = error.message;
      }
      this.calls.push({ at, took: Date.now() - at, status });
      await pause(EVERY_MS);
    }
  }
}
