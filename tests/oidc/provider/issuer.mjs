// One issuer: an OpenID provider on a free port of 127.0.0.1, whose signing keys change while it runs.
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import Provider, { errors } from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

import { interact } from './pages.mjs';

// The APIs that access tokens are for (RFC 8707), by the format of their tokens.
const APIS = {
  'https://api.example/signed': 'jwt',
  'https://api.example/opaque': 'opaque',
  'https://other.example/signed': 'jwt',
  'https://other.example/opaque': 'opaque',
};
const SCOPES = 'read:realms write:realms delete:realms';
const LIFETIME = 600;

const KEYS = {
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
};

function newKey(algorithm) {
  const { privateKey } = KEYS[algorithm]();
  return { ...privateKey.export({ format: 'jwk' }), alg: algorithm, use: 'sig', kid: randomUUID() };
}

export class Issuer {
  // How often each path was asked for.
  #requests = new Map();
  #cookieKeys = [randomBytes(32).toString('hex')];
  // What was issued outlives the provider that issued it.
  #adapter = createMemoryAdapter();
  #server = createServer((request, response) => this.#answer(request, response));
  #algorithm;
  #keys;
  #provider;

  constructor(algorithm) {
    this.#algorithm = algorithm;
    this.#keys = [newKey(algorithm)];
  }

  async start() {
    this.#server.listen(this.port ?? 0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = this.#server.address().port;
    this.url = `http://127.0.0.1:${this.port}`;
    this.#provider ??= this.#newProvider();
  }

  async stop() {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  // From now on a new key signs; the ones before it are still published.
  rotate() {
    this.#keys.unshift(newKey(this.#algorithm));
    this.#provider = this.#newProvider();
  }

  // Only the key that signs is published any more.
  withdraw() {
    this.#keys.splice(1);
    this.#provider = this.#newProvider();
  }

  requests(path) {
    return this.#requests.get(path) ?? 0;
  }

  #answer(request, response) {
    const [path] = request.url.split('?');
    this.#requests.set(path, this.requests(path) + 1);
    const answered = path.startsWith('/interaction/')
      ? interact(this.#provider, request, response)
      : this.#provider.callback()(request, response);
    answered.catch((error) => {
      console.error(error);
      response.writeHead(500).end();
    });
  }

  // The library reads its keys once. A new provider of the same name is what a restart would be, but
  // without a moment in which nobody answers.
  #newProvider() {
    const provider = new Provider(this.url, {
      adapter: this.#adapter,
      clientDefaults: { id_token_signed_response_alg: this.#algorithm },
      cookies: { keys: this.#cookieKeys },
      features: {
        devInteractions: { enabled: false },
        introspection: { enabled: true, allowedPolicy: () => true },
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true,
          useGrantedResource: () => true,
          getResourceServerInfo: (_, resource) => this.#api(resource),
        },
        revocation: {
          enabled: true,
          allowedPolicy: (_, client, token) => client.clientId === token.clientId,
        },
      },
      findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
      jwks: { keys: this.#keys },
      pkce: { required: () => true },
      rotateRefreshToken: true,
      scopes: ['offline_access'],
      ttl: {
        AccessToken: LIFETIME,
        Grant: 3600,
        IdToken: LIFETIME,
        Interaction: LIFETIME,
        RefreshToken: 3600,
        Session: 3600,
      },
    });
    provider.on('server_error', (_, error) => console.error(error));
    return provider;
  }

  #api(resource) {
    if (!(resource in APIS)) throw new errors.InvalidTarget();
    const [{ alg, kid }] = this.#keys;
    return {
      audience: resource,
      scope: SCOPES,
      accessTokenTTL: LIFETIME,
      accessTokenFormat: APIS[resource],
      jwt: { sign: { alg, kid } },
    };
  }
}
