// What happens to a server, and what its clients may notice of it.

import { Api } from './api.mjs';
import { pause, until } from './children.mjs';
import { Proxied, Reading, Scripted } from './programs.mjs';

/** For how many lifetimes nothing else happens. */
const LIFETIMES = 3;

/** What a keeper may ask for in one lifetime. */
const TOKENS_PER_LIFETIME = 1.4;

/** How long a keeper may wait until it asks again (`BACKOFF_CAP`), and a program until it asks the keeper. */
const BACKOFF_SECS = 31;

/** How long a program may take until all goes well, on a machine with other work. */
const START_SECS = 30;

/** How long a request waits for a token at most, before it is told that there is none. */
const PATIENCE_SECS = 30;

/** The clients, and how long their tokens live. */
export const clients = ({ short, long }) => ({
  proxied: short, reading: short, scripted: short, steady: long, filed: long, starved: short,
});

/** Plays scenes with an API and programs of their own, and ends those. */
export async function play(world, programs, scenes) {
  const api = await Api.of(world.server);
  const started = [];
  try {
    const here = { ...world, api };
    for (const [client, kind] of programs) {
      const program = await kind.of(client, here);
      started.push(program);
      here[client] = program;
    }
    for (const program of started) {
      await until(`${program.client} is well`, START_SECS, () => program.isWell(0));
    }
    for (const scene of scenes) await scene(here);
  } finally {
    world.says('no request came without a token', api.naked === 0, `${api.naked} of ${api.seen.length} did`);
    await Promise.all([...started.map((program) => program.end()), api.end()]);
  }
}

/** Tokens expire, again and again. */
export async function expiry({ server, says, proxied, reading, scripted }) {
  const programs = [proxied, reading, scripted];
  const { short } = server.lifetimes;
  const granted = () => Promise.all(programs.map(({ client }) => server.granted(client)));
  const [began, before] = [Date.now(), await granted()];
  await pause(LIFETIMES * short * 1000);
  const after = await granted();
  const lifetimes = (Date.now() - began) / 1000 / short;
  programs.forEach((program, index) => {
    const tokens = after[index] - before[index];
    const what = `${program.kind}: tokens expire, and no request notices`;
    says(what, ...allWell(program, began));
    const limit = Math.floor(TOKENS_PER_LIFETIME * lifetimes) + 1;
    const enough = tokens >= Math.floor(lifetimes) && tokens <= limit;
    says(`${program.kind}: a token is asked for once in its life`, enough, `${tokens} in ${lifetimes.toFixed(1)} lifetimes`);
  });
}

/** The server signs with another key, and publishes the old one no longer. */
export async function rotation({ server, api, says, proxied, reading, scripted }) {
  const { short } = server.lifetimes;
  const rotate = await server.otherKeys();
  // Just after it got a token, so that it has one of the old key for a while.
  const before = await server.granted(proxied.client);
  await until('the proxy has a new token', 2 * short, async () => (await server.granted(proxied.client)) > before);
  const began = Date.now();
  await rotate();
  const rotated = Date.now();
  const count = (client) => api.count(client, 401, began);
  await until('the API has refused the proxy', short, () => count(proxied.client));
  // By then the file has another token, and no old one is good any more.
  await until('everybody is well', 2 * short, () => {
    const isOver = Date.now() - rotated > short * 1000;
    return isOver && [proxied, reading, scripted].every((program) => program.isWell(rotated));
  });
  const [well, why] = allWell(proxied, began);
  says('proxy: keys are rotated, and no request notices', well, `${why}; the API refused ${count(proxied.client)}`);
  const refused = scripted.since(began).filter((call) => call.status !== 200);
  says('agent: keys are rotated, and one 401 brings another token', refused.length <= 1, summary(refused));
  const late = reading.since(rotated + short * 1000).filter((call) => call.status !== 200);
  const noticed = reading.since(began).filter((call) => ![200, 401].includes(call.status));
  says('exec: keys are rotated, and the file is good at its next renewal', late.length + noticed.length === 0,
    `${count(reading.client)} refused before; ${summary([...noticed, ...late])}`);
}

/** The server goes away, for longer than a short token lives and shorter than a long one, and comes back. */
export async function outage({ server, api, says, steady, filed, starved }) {
  const { short, long } = server.lifetimes;
  const programs = [steady, filed];
  const granted = () => Promise.all(programs.map(({ client }) => server.granted(client)));
  const before = await granted();
  const began = Date.now();
  await server.stop();
  const unsent = () => starved.since(began).filter((call) => [502, 503].includes(call.status)).length;
  await until('the proxy says that it has no token', short + PATIENCE_SECS, unsent);
  if (server.renewsInOutages) {
    await until('a renewal has failed', long, () => steady.metric('keeper_obtain_failures'));
  }
  const late = api.seen.filter((one) => one.client === starved.client && one.at > began + short * 1000);
  const why = `${unsent()} requests, told 502 or 503`;
  says('proxy: where there is no token any more, nothing is sent', late.length === 0, why);
  await server.start();
  says('proxy: it has a token soon after the server is back', ...(await recovered(starved, Date.now())));
  if (server.renewsInOutages) {
    const renewed = async () => (await granted()).every((tokens, index) => tokens > before[index]);
    await until('the tokens that outlived the outage are renewed', long, renewed);
  }
  for (const program of programs) {
    says(`${program.kind}: the server is away while the token lives, and no request notices`, ...allWell(program, began));
  }
}

/** That a program has tokens again, as soon as the keeper may be expected to have asked, and from then on always. */
async function recovered(program, back) {
  const ends = () => program.since(0).filter((call) => call.status === 200).map((call) => call.at + call.took);
  const first = await until('the proxy has a token again', BACKOFF_SECS, () => ends().find((end) => end >= back));
  await until('it keeps it', PATIENCE_SECS, () => program.isWell(first));
  const [well, why] = allWell(program, first);
  return [well, `after ${((first - back) / 1000).toFixed(1)} s; ${why}`];
}

/** That all went well, and otherwise what did not. */
function allWell(program, since) {
  const calls = program.since(since);
  const bad = calls.filter((call) => call.status !== 200);
  const slowest = Math.max(...calls.map((call) => call.took));
  const why = bad.length ? summary(bad) : `${calls.length} requests, the slowest ${slowest} ms`;
  return [calls.length > 0 && bad.length === 0, why];
}

function summary(calls) {
  const counts = new Map();
  for (const { status } of calls) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} times ${status}`).join(', ') || 'none failed';
}
