// jose as its documentation recommends it for an API: keys from a key set, `iss`, `aud`, `exp` and `typ` checked.
//
// Reads an order from standard input and prints one line of JSON. Tokens are verified many at once, as requests come,
// since the WebCrypto of Node.js hands each signature to another thread.
import { readFileSync } from 'node:fs'
import { createLocalJWKSet, jwtVerify } from 'jose'

const AT_ONCE = 32
const order = JSON.parse(readFileSync(0, 'utf8'))
const keys = createLocalJWKSet(order.jwks)
const options = { issuer: order.issuer, audience: order.audience, typ: 'at+jwt', requiredClaims: ['exp'] }

let next = 0
async function verify(milliseconds) {
  const began = performance.now()
  let verified = 0
  while (performance.now() - began < milliseconds) {
    const batch = []
    for (let i = 0; i < AT_ONCE; i++) {
      batch.push(jwtVerify(order.tokens[next], keys, options))
      next = (next + 1) % order.tokens.length
    }
    await Promise.all(batch)
    verified += AT_ONCE
  }
  return ((performance.now() - began) * 1e6) / verified
}

await verify(order.warmup_ms)
console.log(JSON.stringify({ nanos: await verify(order.measure_ms) }))
