// Tokens of node-oidc-provider, and what `tokenry verify` has to say about them.

import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';

import { until } from '../children.mjs';
import { Door } from './door.mjs';
import { ALGORITHMS, API, OTHER_API } from './provider.mjs';

/** How long something may take that is a matter of a second or two, on a machine with other work. */
const SOON_SECS = 20;

const bearer = (token) => `Bearer ${token}`;

const INVALID = { status: 401, 'www-authenticate': /^Bearer .*error="invalid_token"/ };

/** JWTs that are good, that are good for something else, and that are not. */
export async function jwts(world) {
  const { issuer, check } = world;
  const door = await Door.of('jwts', issuer, world);
  for (const alg of ALGORITHMS) {
    const token = await issuer.token(alg, { scope: 'orders:read' });
    const { typ, alg: signed } = decodeProtectedHeader(token);
    check(`${alg}: it is an access token, signed so`, { typ, signed }, { typ: 'at+jwt', signed: alg });
    check(`${alg}: accepted, with its claims`, await door.ask('/orders', bearer(token)), {
      status: 200, 'x-token-subject': alg, 'x-token-client': alg, 'x-token-scope': 'orders:read',
    });
    check(`${alg}: refused for what needs another scope`, await door.ask('/orders', bearer(token), { method: 'POST' }), {
      status: 403, 'www-authenticate': /error="insufficient_scope".*scope="orders:write"/,
    });
    check(`${alg}: refused with another content`, await door.ask('/orders', bearer(widened(token))), INVALID);
    check(`${alg}: refused with another signature`, await door.ask('/orders', bearer(resigned(token))), INVALID);
    const elsewhere = await issuer.token(alg, { scope: 'orders:read', resource: OTHER_API });
    check(`${alg}: refused where it is for another API`, await door.ask('/orders', bearer(elsewhere)), INVALID);
  }
  check('no token: told what is needed, and of no error', await door.ask('/orders'), {
    status: 401, 'www-authenticate': /^Bearer (?!.*error=)/,
  });
  const claims = decodeJwt(await issuer.token('ES256', { scope: 'orders:read' }));
  const signed = (header) => issuer.sign(claims, header).then((token) => door.ask('/orders', bearer(token)));
  check('signed by hand: accepted, as what follows is not', await signed({ typ: 'at+jwt' }), { status: 200 });
  check('signed by hand: refused where it does not say that it is an access token', await signed({ typ: 'JWT' }), INVALID);
  await door.end();
}

/** A token ends while it is in use, and remembered. */
export async function expiry(world) {
  const { issuer, check } = world;
  const door = await Door.of('expiry', issuer, world);
  const token = await issuer.token('brief');
  check('a token of two seconds: accepted', await door.ask('/', bearer(token)), { status: 200 });
  let said;
  await until('the token is refused', SOON_SECS, async () => (said = await door.ask('/', bearer(token))).status !== 200);
  check('a token of two seconds: refused when they are over', said, INVALID);
  const { exp } = decodeJwt(token);
  check('a token of two seconds: and not before', { early: Date.now() < exp * 1000 }, { early: false });
  await door.end();
}

/** Tokens that are bound to a key. */
export async function dpop(world) {
  const { issuer, check } = world;
  const door = await Door.of('dpop', issuer, world, `[dpop]\nresource_urls = ["${API}"]\nnonces = false\n`);
  const [proof, stranger] = [prover(), prover()];
  for (const alg of ALGORITHMS) {
    const token = await issuer.token(alg, { scope: 'orders:read orders:write', proof });
    const ask = async (proof, method = 'GET') => door.ask('/orders?page=2', `DPoP ${token}`, { method, proof: await proof });
    const made = await proof('GET', `${API}/orders`, { token });
    const good = { status: 200, 'x-token-client': alg };
    const bad = { status: 401, 'www-authenticate': /DPoP .*error="invalid_dpop_proof"/ };
    check(`DPoP, ${alg}: accepted with a proof`, await ask(made), good);
    check(`DPoP, ${alg}: refused with the same proof again`, await ask(made), bad);
    check(`DPoP, ${alg}: accepted with a new proof`, await ask(proof('POST', `${API}/orders`, { token }), 'POST'), good);
    check(`DPoP, ${alg}: refused as a bearer token`, await door.ask('/orders', bearer(token)), {
      status: 401, 'www-authenticate': /error="invalid_token"/,
    });
    check(`DPoP, ${alg}: refused without a proof`, await ask(undefined), { status: 401 });
    for (const [what, about, method] of [
      ['path', ['GET', `${API}/users`, { token }]],
      ['host', ['GET', `${OTHER_API}/orders`, { token }]],
      ['method', ['GET', `${API}/orders`, { token }], 'POST'],
      ['token', ['GET', `${API}/orders`, { token: 'another' }]],
    ]) {
      check(`DPoP, ${alg}: refused with a proof for another ${what}`, await ask(proof(...about), method), bad);
    }
    check(`DPoP, ${alg}: refused with the proof of another key`, await ask(stranger('GET', `${API}/orders`, { token })), {
      status: 401, 'www-authenticate': /DPoP .*error="invalid_/,
    });
  }
  await door.end();
}

/** Proofs have to be made after they were asked for. */
export async function nonces(world) {
  const { issuer, check } = world;
  const door = await Door.of('nonces', issuer, world, `[dpop]\nresource_urls = ["${API}"]\nnonces = true\n`);
  const proof = prover();
  const token = await issuer.token('ES256', { scope: 'orders:read', proof });
  const ask = async (nonce) => {
    const made = await proof('GET', `${API}/orders`, { token, nonce });
    return door.ask('/orders', `DPoP ${token}`, { proof: made });
  };
  const told = await ask();
  check('DPoP with nonces: told one', told, {
    status: 401, 'www-authenticate': /DPoP .*error="use_dpop_nonce"/, 'dpop-nonce': /./,
  });
  check('DPoP with nonces: accepted with that', await ask(told['dpop-nonce']), { status: 200 });
  await door.end();
}

/** The issuer signs with other keys. */
export async function rotation(world) {
  const { issuer, check } = world;
  // One for each rotation: made-up key names may not have the keys fetched twice within half a minute.
  const [kept, gone] = await Promise.all(['kept', 'gone'].map((name) => Door.of(name, issuer, world)));
  const old = await issuer.token('ES256');
  for (const door of [kept, gone]) {
    check('rotation: a token of the old key, before', await door.ask('/', bearer(old)), { status: 200 });
  }
  issuer.rotate({ keep: true });
  check('rotation: a token of the new key, the first time that it is seen',
    await kept.ask('/', bearer(await issuer.token('ES256'))), { status: 200 });
  check('rotation: a token of the old key, which is still published', await kept.ask('/', bearer(old)), { status: 200 });
  issuer.rotate({ keep: false });
  check('rotation: a token of the newest key, the first time that it is seen',
    await gone.ask('/', bearer(await issuer.token('ES256'))), { status: 200 });
  check('rotation: a token of the old key, which is gone', await gone.ask('/', bearer(old)), INVALID);
  await Promise.all([kept.end(), gone.end()]);
}

/** Tokens that only their issuer can read. */
export async function opaque(world) {
  const { issuer, check, logs } = world;
  // Beside the file that names it.
  writeFileSync(join(logs, 'api.secret'), issuer.secret, { mode: 0o600 });
  const settings = `
[issuers.introspection]
client_id = "api"
client_secret = { file = "api.secret" }
ttl = "1s"

[dpop]
resource_urls = ["${API}"]
nonces = false
`;
  const door = await Door.of('opaque', issuer, world, settings);
  const ask = async (token, asked) => door.ask('/orders', bearer(await token), asked);
  const make = (scope, resource) => issuer.token('opaque', { scope, resource });
  const [token, lasting] = [await make('orders:read'), await make('orders:read')];
  const good = { status: 200, 'x-token-client': 'opaque', 'x-token-scope': 'orders:read' };
  check('opaque: it is no JWT', { parts: token.split('.').length }, { parts: 1 });
  check('opaque: accepted, with its claims', await ask(token), good);
  check('opaque: refused for what needs another scope', await ask(token, { method: 'POST' }), { status: 403 });
  check('opaque: refused where it is for another API', await ask(make('orders:read', OTHER_API)), INVALID);
  check('opaque: refused where nobody issued it', await ask(`${token.slice(1)}a`), INVALID);
  check('a JWT beside them: accepted', await ask(issuer.token('ES256', { scope: 'orders:read' })), { status: 200 });

  const proof = prover();
  const bound = await issuer.token('opaque', { scope: 'orders:read', proof });
  const made = await proof('GET', `${API}/orders`, { token: bound });
  check('opaque, DPoP: accepted with a proof', await door.ask('/orders', `DPoP ${bound}`, { proof: made }), good);
  check('opaque, DPoP: refused as a bearer token', await ask(bound), { status: 401 });

  await issuer.revoke('opaque', token);
  let said;
  await until('the token is refused', SOON_SECS, async () => (said = await ask(token)).status !== 200);
  check('opaque: refused soon after it was revoked', said, INVALID);
  check('opaque: accepted, as nobody revoked that one', await ask(lasting), good);

  const fresh = await make('orders:read');
  await issuer.stop();
  const away = { status: 503, 'retry-after': /^\d+$/ };
  check('opaque, the issuer is away: no answer for a token that is not known', await ask(fresh), away);
  await until('the token is no longer remembered', SOON_SECS, async () => (said = await ask(lasting)).status !== 200);
  check('opaque, the issuer is away: none for one that was, later on', said, away);
  await issuer.start();
  await until('the token is accepted', SOON_SECS, async () => (said = await ask(fresh)).status === 200);
  check('opaque, the issuer is back: accepted', said, good);
  await door.end();
}

/** The token with more scopes than it was given. */
function widened(token) {
  const [header, , signature] = token.split('.');
  const claims = { ...decodeJwt(token), scope: 'orders:read orders:write' };
  return [header, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.');
}

/** The token with a bit of its signature turned around. */
function resigned(token) {
  const [header, claims, signature] = token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  bytes[9] ^= 1;
  return [header, claims, bytes.toString('base64url')].join('.');
}

/** What makes proofs (RFC 9449 §4.2) with a key of its own. */
function prover() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: publicKey.export({ format: 'jwk' }) };
  return (htm, htu, { token, nonce } = {}) => {
    const ath = token && createHash('sha256').update(token).digest('base64url');
    const claims = { htm, htu, jti: randomUUID(), ...(ath && { ath }), ...(nonce && { nonce }) };
    return new SignJWT(claims).setProtectedHeader(header).setIssuedAt().sign(privateKey);
  };
}
