// Our verifier, and what node-oidc-provider issues.
//
// node main.mjs TOKENRY LOGS

import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { Issuer } from './provider.mjs';
import { dpop, expiry, jwts, nonces, opaque, rotation } from './scenes.mjs';

const [tokenry, logs] = process.argv.slice(2);

/** That what was said has all that was wanted: the same, or what a pattern describes. */
function check(what, said, wanted) {
  const isMet = ([name, one]) => (one instanceof RegExp ? one.test(said[name] ?? '') : said[name] === one);
  const line = `verifier node-oidc-provider ${what}`;
  if (Object.entries(wanted).every(isMet)) return console.log(`ok      ${line}`);
  console.log(`FAILED  ${line}: ${JSON.stringify(said)}`);
  process.exitCode = 1;
}

/** Plays a scene with an issuer of its own. */
async function play(scene) {
  let issuer;
  try {
    issuer = await Issuer.of();
    await scene({ issuer, tokenry, logs, check });
  } catch (error) {
    check(`the scene ${scene.name} is played`, { error: error.message }, { error: undefined });
  } finally {
    await issuer?.stop();
  }
}

rmSync(logs, { recursive: true, force: true });
mkdirSync(logs, { recursive: true, mode: 0o700 });
// What node-oidc-provider advises those who run it for real.
for (const name of ['info', 'warn']) console[name] = (line) => appendFileSync(join(logs, 'oidc-provider.log'), `${line}\n`);
for (const scene of [jwts, expiry, dpop, nonces, rotation, opaque]) await play(scene);
// What was forgotten ends now.
process.exit();
