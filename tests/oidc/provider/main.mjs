// Issuers for tests. It listens on a free port of 127.0.0.1, writes its address to the file that its
// first argument names, and does what it is told by POST, with JSON in and out:
//
//   /issuers {algorithm}       starts an issuer that signs by ES256, EdDSA or RS256: {issuer}
//   /rotate {issuer}           a new key signs from now on, the old ones are still published
//   /withdraw {issuer}         only the key that signs is published any more
//   /stop {issuer}             nobody answers there any more
//   /start {issuer}            the same issuer goes on, with all it has issued
//   /requests {issuer, path}   how often a path of it was asked for: {requests}
import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { Issuer } from './issuer.mjs';

const issuers = new Map();

const verbs = {
  '/issuers': async ({ algorithm }) => {
    const issuer = new Issuer(algorithm);
    await issuer.start();
    issuers.set(issuer.url, issuer);
    return { issuer: issuer.url };
  },
  '/rotate': ({ issuer }) => issuers.get(issuer).rotate(),
  '/withdraw': ({ issuer }) => issuers.get(issuer).withdraw(),
  '/stop': ({ issuer }) => issuers.get(issuer).stop(),
  '/start': ({ issuer }) => issuers.get(issuer).start(),
  '/requests': ({ issuer, path }) => ({ requests: issuers.get(issuer).requests(path) }),
};

const server = createServer(async (request, response) => {
  try {
    const told = JSON.parse(Buffer.concat(await request.toArray()));
    const answer = await verbs[request.url](told);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? {}));
  } catch (error) {
    console.error(error);
    response.writeHead(500).end(String(error));
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

// Nothing here needs the rights of root. By then all files have been read, wherever they are.
const [, , file, user, group] = process.argv;
// Whole or not at all.
writeFileSync(`${file}.new`, `http://127.0.0.1:${server.address().port}\n`);
renameSync(`${file}.new`, file);
if (user) {
  process.setgroups([]);
  process.setgid(Number(group));
  process.setuid(Number(user));
}
