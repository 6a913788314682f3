// An MCP server of the official TypeScript SDK, with sessions, as its examples build one.
//
// Run it where its packages are installed. Streamable HTTP at /mcp, one tool. With SIGN_IN=oauth the SDK's own
// authorization endpoints (mcpAuthRouter) stand beside it, on a provider that keeps everything in memory and
// approves every authorization request. Its first line on stdout says where it listens.
//
// Environment:
//   SIGN_IN               oauth, or none (default)
//   ACCESS_TOKEN_SECONDS  life of an access token (default 3600)
//   PUBLIC_URL            the origin that clients know the server by, if it is another than it listens on
//   LOST_SESSION          how a session that it does not know is refused: 404 (default), as today's examples
//                         do, or 400, as older ones and many servers that were made after them
//
// POST /_forget_sessions makes it forget every session, as a restart would; POST /_end_access_tokens ends every
// access token, and no refresh token. The answers say how many.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const { SIGN_IN = 'none', ACCESS_TOKEN_SECONDS = '3600', LOST_SESSION = '404', PUBLIC_URL } = process.env;
const LIFE = Number(ACCESS_TOKEN_SECONDS);
const SCOPE = 'notes';

// This file lies in the source tree, the packages below the working directory.
const require = createRequire(`${process.cwd()}/`);
// What `require` finds is the package's CommonJS half, of which `import` gives the same exports.
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { default: express } = await load('express');
const { McpServer } = await load('@modelcontextprotocol/sdk/server/mcp.js');
const { StreamableHTTPServerTransport } = await load('@modelcontextprotocol/sdk/server/streamableHttp.js');
const router = await load('@modelcontextprotocol/sdk/server/auth/router.js');
const { requireBearerAuth } = await load('@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js');
const { InvalidGrantError, InvalidTokenError } = await load('@modelcontextprotocol/sdk/server/auth/errors.js');
const { isInitializeRequest } = await load('@modelcontextprotocol/sdk/types.js');

// Whoever started this may be killed without a chance to stop it.
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(), 1000).unref();

// Rotates refresh tokens; a revoked token takes its grant with it.
class Provider {
  clients = new Map();
  codes = new Map();
  tokens = new Map();

  clientsStore = {
    getClient: (id) => this.clients.get(id),
    registerClient: (client) => {
      this.clients.set(client.client_id, client);
      return client;
    },
  };

  async authorize(client, { state, scopes, codeChallenge, redirectUri, resource }, response) {
    const code = randomUUID();
    const wanted = scopes?.length ? scopes : [SCOPE];
    this.codes.set(code, { clientId: client.client_id, scopes: wanted, codeChallenge, redirectUri, resource });
    const target = new URL(redirectUri);
    target.searchParams.set('code', code);
    if (state !== undefined) target.searchParams.set('state', state);
    response.redirect(target.href);
  }

  code(client, code) {
    const found = this.codes.get(code);
    if (found?.clientId !== client.client_id) throw new InvalidGrantError('the code is unknown or used');
    return found;
  }

  async challengeForAuthorizationCode(client, code) {
    return this.code(client, code).codeChallenge;
  }

  async exchangeAuthorizationCode(client, code, _verifier, redirectUri) {
    const found = this.code(client, code);
    if (redirectUri !== undefined && redirectUri !== found.redirectUri) throw new InvalidGrantError('redirect_uri');
    this.codes.delete(code);
    return this.give({ ...found, grant: randomUUID() });
  }

  async exchangeRefreshToken(client, token, scopes) {
    const found = this.tokens.get(token);
    const isGood = found?.kind === 'refresh' && found.clientId === client.client_id;
    if (!isGood) throw new InvalidGrantError('the refresh token is unknown or used');
    this.tokens.delete(token);
    return this.give({ ...found, scopes: scopes ?? found.scopes });
  }

  async verifyAccessToken(token) {
    const found = this.tokens.get(token);
    if (found?.kind !== 'access') throw new InvalidTokenError('the token is unknown or revoked');
    return { token, ...found };
  }

  async revokeToken(client, { token }) {
    const found = this.tokens.get(token);
    if (found?.clientId !== client.client_id) return;
    for (const [each, { grant }] of this.tokens) if (grant === found.grant) this.tokens.delete(each);
  }

  endAccessTokens() {
    const over = [...this.tokens].filter(([, { kind }]) => kind === 'access');
    for (const [token] of over) this.tokens.delete(token);
    return over.length;
  }

  give({ clientId, scopes, resource, grant }) {
    const [access, refresh] = [randomUUID(), randomUUID()];
    const expiresAt = Date.now() / 1000 + LIFE;
    this.tokens.set(access, { kind: 'access', clientId, scopes, resource, grant, expiresAt });
    this.tokens.set(refresh, { kind: 'refresh', clientId, scopes, resource, grant });
    const told = { token_type: 'bearer', expires_in: LIFE, scope: scopes.join(' ') };
    return { access_token: access, refresh_token: refresh, ...told };
  }
}

const app = express();
const server = createServer(app);
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const own = `http://127.0.0.1:${server.address().port}`;
const publicUrl = new URL(PUBLIC_URL ?? own);
const resourceServerUrl = new URL('/mcp', publicUrl);

const guards = [];
if (SIGN_IN === 'oauth') {
  const provider = new Provider();
  app.post('/_end_access_tokens', (_, response) => response.json({ ended: provider.endAccessTokens() }));
  app.use(router.mcpAuthRouter({ provider, issuerUrl: publicUrl, resourceServerUrl, scopesSupported: [SCOPE] }));
  const resourceMetadataUrl = router.getOAuthProtectedResourceMetadataUrl(resourceServerUrl);
  guards.push(requireBearerAuth({ verifier: provider, requiredScopes: [SCOPE], resourceMetadataUrl }));
}

const sessions = new Map();
let calls = 0;

function mcpServer() {
  const made = new McpServer({ name: 'typescript-sdk-peer', version: '1' });
  made.registerTool('count_calls', { description: 'Says how often it was called.' }, () => {
    calls += 1;
    return { content: [{ type: 'text', text: `call ${calls}` }] };
  });
  return made;
}

async function begin() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await mcpServer().connect(transport);
  return transport;
}

function refuse(response, status, code, message) {
  response.status(status).json({ jsonrpc: '2.0', error: { code, message }, id: null });
}

app.use('/mcp', ...guards, express.json(), async (request, response) => {
  const id = request.headers['mcp-session-id'];
  if (sessions.has(id)) return sessions.get(id).handleRequest(request, response, request.body);
  if (!id && isInitializeRequest(request.body)) return (await begin()).handleRequest(request, response, request.body);
  if (id && LOST_SESSION === '404') return refuse(response, 404, -32001, 'Session not found');
  return refuse(response, 400, -32000, 'Bad Request: No valid session ID provided');
});

app.post('/_forget_sessions', (_, response) => {
  const forgotten = sessions.size;
  sessions.clear();
  response.json({ forgotten });
});

console.log(own);
