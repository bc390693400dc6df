// Processes that end with this one, whatever ends it, and their logs.

import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** How long a process may take to end by itself. */
const END_MS = 10_000;

const running = new Set();

/** Without what somebody has set for a Tokenry of their own. */
const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TOKENRY_')));

/** Signals a process and all that it started. */
function signal(child, name) {
  try {
    process.kill(-child.pid, name);
  } catch {
    // It has ended.
  }
}

// SIGTERM, so that they can tidy up.
process.on('exit', () => running.forEach((child) => signal(child, 'SIGTERM')));
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => process.exit(1));

/**
 * Starts a process in a group of its own. What it prints goes to `line`, or to its log; what it complains of to its log.
 */
export function start(name, command, args, { logs, env = {}, line, channel = false }) {
  const stdio = ['ignore', 'pipe', 'pipe'];
  if (channel) stdio.push('ipc');
  const child = spawn(command, args, { detached: true, env: { ...inherited, ...env }, stdio });
  const log = createWriteStream(join(logs, `${name}.log`), { flags: 'a' });
  child.stderr.pipe(log, { end: false });
  if (line) createInterface({ input: child.stdout }).on('line', line);
  else child.stdout.pipe(log, { end: false });
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, by) => resolve(by ?? code));
  });
  running.add(child);
  ended.then(() => {
    running.delete(child);
    log.end();
  });
  return {
    ended,
    tell: (message) => child.send(message),
    /** Waits until the process says so. */
    heard: (wanted) => new Promise((resolve, reject) => {
      child.on('message', (said) => said === wanted && resolve());
      ended.then((code) => reject(new Error(`${name} ended with ${code}`)));
    }),
    async end() {
      signal(child, 'SIGTERM');
      const late = setTimeout(() => signal(child, 'SIGKILL'), END_MS);
      await ended;
      clearTimeout(late);
    },
  };
}

/** Runs a command to its end: what it printed. */
export async function output(name, command, args, { logs, env, seconds }) {
  const lines = [];
  const child = start(name, command, args, { logs, env, line: (line) => lines.push(line) });
  const late = seconds && setTimeout(() => child.end(), seconds * 1000);
  const code = await child.ended;
  clearTimeout(late);
  if (code !== 0) throw new Error(`${name} ended with ${code}; see ${join(logs, `${name}.log`)}`);
  return lines.join('\n');
}

/** Waits until `check` gives something, and fails after so many seconds. */
export async function until(what, seconds, check) {
  for (const last = Date.now() + seconds * 1000; ;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > last) throw new Error(`waited ${seconds} s in vain until ${what}`);
    await pause(25);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
