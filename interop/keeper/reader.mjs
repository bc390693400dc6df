// A program that reads its token from a file whenever it calls the API. It prints what it is answered.
//
// node reader.mjs URL MILLISECONDS

import { readFileSync } from 'node:fs';

const [url, every] = process.argv.slice(2);

async function call() {
  const at = Date.now();
  let status;
  try {
    const token = readFileSync(process.env.TOKENRY_TOKEN_FILE, 'utf8').trim();
    const response = await fetch(url, { headers: { Authorization: `Bearer ${token}` } });
    await response.arrayBuffer();
    ({ status } = response);
  } catch (error) {
    status = error.cause?.code ?? error.message;
  }
  console.log(JSON.stringify({ at, took: Date.now() - at, status }));
}

setInterval(call, Number(every));
process.stdout.on('error', () => process.exit());
