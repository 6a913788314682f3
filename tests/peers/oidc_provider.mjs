// A certified OAuth authorization server (oidc-provider) for tests, on a free loopback port.
//
// Run it where its packages are installed; its first line on stdout is the issuer, which has a path. Nobody
// has to click: an authorization request is approved for the user in `login_hint` (else ada), and refused for
// the user nobody. It keeps everything in memory and never leaves the machine. It does what a good server
// does; the bad ones are in tests/lab.py.
//
// Environment:
//   ACCESS_TOKEN_SECONDS  life of an access token (default 3600)
//   ACCESS_TOKEN_FORMAT   opaque (default) or jwt
//   REFRESH_TOKENS        always (default), or offline_access: the library's own rule, which gives a refresh
//                         token only to who asks for offline_access with prompt=consent
//   TOKEN_DELAY_MS        holds every answer of the token endpoint back (default 0)
//   CLIENTS               JSON list of the metadata of clients that are registered already
//   CLIENT_DOCUMENTS      JSON object: a client id that is an https URL -> where its document really lies
//
// Beside the OAuth endpoints: GET /_seen (counts), POST /_introspect {token}, POST /_revoke_grants.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const MOUNT = '/tenants/one';
const RESOURCE_SCOPES = 'mcp:read mcp:write';
const RESOURCE = /^http:\/\/(127\.0\.0\.1|localhost)(:\d+)?(\/|\?|$)/;

const {
  ACCESS_TOKEN_SECONDS = '3600',
  ACCESS_TOKEN_FORMAT = 'opaque',
  REFRESH_TOKENS = 'always',
  TOKEN_DELAY_MS = '0',
  CLIENTS = '[]',
  CLIENT_DOCUMENTS = '{}',
} = process.env;
const documents = new Map(Object.entries(JSON.parse(CLIENT_DOCUMENTS)));

// This file lies in the source tree, the packages below the working directory.
const require = createRequire(`${process.cwd()}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { default: Provider, errors } = await load('oidc-provider');
const { jwtVerify } = await load('jose');

// Whoever started this may be killed without a chance to stop it.
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(), 1000).unref();

const server = createServer((request, response) => answer(request, response));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${server.address().port}`;
const issuer = origin + MOUNT;

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), kid: 'only', alg: 'RS256', use: 'sig' };
const lifetime = Number(ACCESS_TOKEN_SECONDS);
const grants = new Set();
const clientTokens = new Set();
const seen = nothingSeen();

const provider = new Provider(issuer, {
  clients: JSON.parse(CLIENTS),
  jwks: { keys: [key] },
  cookies: { keys: ['only-for-tests'] },
  routes: { authorization: '/authorize', registration: '/register', revocation: '/revoke' },
  responseTypes: ['code'],
  scopes: ['openid', 'offline_access', ...RESOURCE_SCOPES.split(' ')],
  // Loopback servers of the tests' own ask for introspection by /_introspect instead.
  clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ...(REFRESH_TOKENS === 'always' && { issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token') }),
  expiresWithSession: () => false,
  clockTolerance: 0,
  ttl: {
    AccessToken: lifetime,
    ClientCredentials: lifetime,
    AuthorizationCode: 60,
    RefreshToken: 86400,
    Grant: 86400,
    IdToken: 3600,
    Interaction: 600,
    Session: 600,
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    clientIdMetadataDocument: { enabled: documents.size > 0, ack: 'draft-02', allowFetch: () => true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => {
        if (!RESOURCE.test(resource)) throw new errors.InvalidTarget();
        return {
          scope: RESOURCE_SCOPES,
          audience: resource,
          accessTokenTTL: lifetime,
          accessTokenFormat: ACCESS_TOKEN_FORMAT,
        };
      },
    },
  },
  fetch: fetchDocument,
  // A JWT is not stored; its grant tells whether it was revoked.
  extraTokenClaims: (_, token) => (token.grantId ? { grant: token.grantId } : undefined),
  findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  interactions: { url: (_, interaction) => `${MOUNT}/interaction/${interaction.uid}` },
  loadExistingGrant: approve,
});

provider.on('client_credentials.saved', (token) => clientTokens.add(token));
for (const event of ['server_error', 'authorization.error', 'grant.error', 'registration_create.error']) {
  provider.on(event, (_, error) => console.error(event, error.message, error.error_description ?? ''));
}

provider.use(async (ctx, next) => {
  await next();
  if (!ctx.oidc) return;
  const { route, body = {} } = ctx.oidc;
  seen[route] = (seen[route] ?? 0) + 1;
  if (route === 'token') {
    const { grant_type, resource, scope } = body;
    seen.token_by_grant[grant_type] = (seen.token_by_grant[grant_type] ?? 0) + 1;
    seen.token_requests.push({ grant_type, resource, scope, status: ctx.status, error: ctx.body?.error });
    await new Promise((resolve) => setTimeout(resolve, Number(TOKEN_DELAY_MS)));
  }
});
const answerOAuth = provider.callback();

console.log(issuer);

function nothingSeen() {
  const counts = { discovery: 0, registration: 0, authorization: 0, token: 0, revocation: 0 };
  return { ...counts, token_by_grant: {}, token_requests: [] };
}

// A grant of its own for every sign-in, of all that was asked for.
async function approve(ctx) {
  const { session, client, params, resourceServers } = ctx.oidc;
  if (!session.accountId) return undefined;
  const grant = new provider.Grant({ accountId: session.accountId, clientId: client.clientId });
  grant.addOIDCScope(params.scope);
  for (const [resource, { scope }] of Object.entries(resourceServers)) grant.addResourceScope(resource, scope);
  grants.add(await grant.save());
  return grant;
}

async function answer(request, response) {
  const path = request.url.split('?')[0];
  try {
    if (path === '/_seen') return json(response, seen);
    if (path === '/_introspect') return json(response, await introspect(JSON.parse(await read(request)).token));
    if (path === '/_revoke_grants') return json(response, await revokeAll());
    if (path.startsWith(`${MOUNT}/interaction/`)) return await signIn(request, response);
    // RFC 8414, section 3.1: the well-known part comes before the issuer's path.
    const inserted = `/.well-known/oauth-authorization-server${MOUNT}`;
    if (path === inserted) request.url = `${MOUNT}/.well-known/oauth-authorization-server`;
    if (!request.url.startsWith(`${MOUNT}/`)) return json(response, { error: 'not_found' }, 404);
    // Without a scope the library refuses; a server may take a default instead (RFC 6749, section 3.3).
    if (path === `${MOUNT}/authorize` && !/[?&]scope=[^&]/.test(request.url)) request.url += '&scope=mcp:read';
    // What the library builds its URLs from when it is mounted below a path.
    request.originalUrl = request.url;
    request.url = request.url.slice(MOUNT.length);
    return answerOAuth(request, response);
  } catch (error) {
    console.error(error);
    return json(response, { error: String(error) }, 500);
  }
}

// Nothing is fetched from elsewhere. The library's dispatcher would refuse this machine's own addresses.
async function fetchDocument(url, options) {
  const where = documents.get(String(url));
  if (!where) throw new Error(`${url} is not among CLIENT_DOCUMENTS`);
  return fetch(where, { ...options, dispatcher: undefined });
}

async function signIn(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const accountId = params.login_hint ?? 'ada';
  const refused = { error: 'access_denied', error_description: 'the user said no' };
  const approved = { login: { accountId }, consent: {} };
  await provider.interactionFinished(request, response, accountId === 'nobody' ? refused : approved);
}

async function introspect(token) {
  const found = (await provider.AccessToken.find(token)) ?? (await provider.ClientCredentials.find(token));
  if (found) {
    if (found.grantId && !(await provider.Grant.find(found.grantId))) return { active: false };
    const { accountId, clientId, scope, aud } = found;
    return { active: true, sub: accountId ?? clientId, client_id: clientId, scope, aud };
  }
  try {
    const { payload } = await jwtVerify(token, publicKey, { issuer });
    if (payload.grant && !(await provider.Grant.find(payload.grant))) return { active: false };
    const { sub, client_id, scope, aud } = payload;
    return { active: true, sub, client_id, scope, aud };
  } catch {
    return { active: false };
  }
}

async function revokeAll() {
  const revoked = grants.size;
  for (const id of grants) {
    for (const model of ['AccessToken', 'RefreshToken', 'AuthorizationCode']) await provider[model].revokeByGrantId(id);
    await (await provider.Grant.find(id))?.destroy();
  }
  for (const token of clientTokens) await token.destroy();
  grants.clear();
  clientTokens.clear();
  return { revoked };
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function json(response, body, status = 200) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
