// Clients in JavaScript against a running Tokenry: oauth4webapi, openid-client, simple-oauth2, jose.
//
// node main.mjs FACTS

import { readFileSync } from 'node:fs';

import { cases as oauth4webapiBeyond } from './beyond-with-oauth4webapi.mjs';
import { cases as openidClientBeyond } from './beyond-with-openid-client.mjs';
import { cases as oauth4webapi } from './with-oauth4webapi.mjs';
import { cases as openidClient } from './with-openid-client.mjs';
import { cases as simpleOauth2 } from './with-simple-oauth2.mjs';

const facts = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const clients = {
  oauth4webapi: [...oauth4webapi, ...oauth4webapiBeyond],
  'openid-client': [...openidClient, ...openidClientBeyond],
  'simple-oauth2': simpleOauth2,
};

/** All that an error says, with what it was caused by. */
function why(error) {
  const said = [error.message ?? String(error)];
  if (error.error) said.push(`${error.status} ${error.error}`);
  if (error.cause instanceof Error) said.push(why(error.cause));
  else if (error.cause) said.push(JSON.stringify(error.cause));
  return said.join(': ').replaceAll(/\s+/g, ' ');
}

for (const [client, cases] of Object.entries(clients)) {
  for (const realm of facts.realms) {
    for (const { what, dialect = realm.dialect, profile = 'standard', run } of cases) {
      if (dialect !== realm.dialect || profile !== realm.profile) continue;
      const line = `${client.padEnd(20)} ${realm.name.padEnd(9)} ${what}`;
      try {
        await run(realm);
        console.log(`ok      ${line}`);
      } catch (error) {
        console.log(`FAILED  ${line}: ${why(error)}`);
        process.exitCode = 1;
      }
    }
  }
}
