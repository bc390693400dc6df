// The keeper and its parts against real servers: node-oidc-provider, and Keycloak where it can be had.
//
// node main.mjs TOKENRY LOGS [KEYCLOAK_SCRIPT KEYCLOAK_FOLDER]

import { mkdirSync, rmSync } from 'node:fs';

import { KeycloakServer, Unavailable } from './keycloak-server.mjs';
import { NodeServer } from './node-server.mjs';
import { Proxied, Reading, Scripted } from './programs.mjs';
import { clients, expiry, outage, play, rotation } from './scenes.mjs';

const [tokenry, logs, script, folder] = process.argv.slice(2);

const LIVELY = [['proxied', Proxied], ['reading', Reading], ['scripted', Scripted]];
const PATIENT = [['steady', Proxied], ['filed', Reading], ['starved', Proxied]];

function says(server) {
  return (what, good, why) => {
    const line = `${'keeper'.padEnd(8)} ${server.padEnd(18)} ${what}`;
    console.log(good ? `ok      ${line} (${why})` : `FAILED  ${line}: ${why}`);
    if (!good) process.exitCode = 1;
  };
}

/** Plays what `scenes` says with a server, and ends that. */
async function meet(starting, scenes) {
  let server;
  try {
    server = await starting;
    await scenes({ server, tokenry, logs, says: says(server.name) });
  } catch (error) {
    if (error instanceof Unavailable) return console.log(`Keycloak was not asked: ${error.message}`);
    says(server?.name ?? 'a server')('the scenes are played', false, error.message);
  } finally {
    await server?.end();
  }
}

rmSync(logs, { recursive: true, force: true });
mkdirSync(logs, { recursive: true, mode: 0o700 });
// Two servers, so that nobody waits for one scene to play the other.
await Promise.all([
  meet(NodeServer.of(logs, clients), (world) => play(world, LIVELY, [expiry, rotation])),
  meet(NodeServer.of(logs, clients), (world) => play(world, PATIENT, [outage])),
]);
if (script) {
  await meet(KeycloakServer.of(script, folder, logs, clients), async (world) => {
    // In this order: after a restart it has the keys that it was declared with.
    await play(world, PATIENT, [outage]);
    await play(world, LIVELY, [expiry, rotation]);
  });
}
// What was forgotten ends now.
process.exit();
