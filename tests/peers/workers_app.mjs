// A Worker that is its own authorization server, by @cloudflare/workers-oauth-provider, as the library's README
// and its page on consent build one. The MCP part is the least that lists and calls one tool, without sessions.
//
// POST /_end_access_tokens ends every access token, as its life's end would: a Worker's storage takes no life
// below a minute.

import OAuthProvider from '@cloudflare/workers-oauth-provider';

const SCOPE = 'notes';
const TOOL = { name: 'count_calls', description: 'Says how often it was called.', inputSchema: { type: 'object' } };
let calls = 0;
let provider;

const RESULTS = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion,
    capabilities: { tools: {} },
    serverInfo: { name: 'workers-peer', version: '1' },
  }),
  ping: () => ({}),
  'tools/list': () => ({ tools: [TOOL] }),
  'tools/call': () => {
    calls += 1;
    return { content: [{ type: 'text', text: `call ${calls}` }] };
  },
};

const apiHandler = {
  async fetch(request) {
    if (request.method !== 'POST') return new Response(null, { status: 405 });
    const { id, method, params } = await request.json();
    if (id === undefined) return new Response(null, { status: 202 });
    const answer = RESULTS[method];
    const error = { code: -32601, message: `Method not found: ${method}` };
    return Response.json({ jsonrpc: '2.0', id, ...(answer ? { result: answer(params) } : { error }) });
  },
};

const defaultHandler = {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/authorize') return request.method === 'POST' ? approve(request, env) : ask(request, env);
    if (pathname === '/_end_access_tokens') return Response.json({ ended: await end(env) });
    return new Response('Not Found', { status: 404 });
  },
};

const escaped = (text) => text.replace(/[&<>"']/g, (each) => `&#${each.charCodeAt(0)};`);

async function ask(request, env) {
  const asked = await env.OAUTH_PROVIDER.parseAuthRequest(request);
  const { clientName, redirectHost } = await env.OAUTH_PROVIDER.describeConsent(asked);
  const { handle, headers } = await env.OAUTH_PROVIDER.beginConsent(asked);
  headers.set('content-type', 'text/html; charset=utf-8');
  const page = `<!doctype html><title>Allow</title>
    <p>May ${escaped(clientName)} at ${escaped(redirectHost)} read your notes?</p>
    <form method="post">
      <input type="hidden" name="handle" value="${escaped(handle)}">
      <button name="decision" value="approve">Allow</button>
    </form>`;
  return new Response(page, { headers });
}

async function approve(request, env) {
  const form = await request.formData();
  const handle = String(form.get('handle'));
  if (form.get('decision') !== 'approve') {
    const { headers } = await env.OAUTH_PROVIDER.denyConsent(request, handle);
    return new Response(null, { status: 302, headers });
  }
  const { request: asked, headers } = await env.OAUTH_PROVIDER.approveConsent(request, handle, { scope: [SCOPE] });
  const { redirectTo } = await env.OAUTH_PROVIDER.completeAuthorization({
    request: asked,
    userId: 'ada',
    metadata: {},
    scope: asked.scope,
    props: { userId: 'ada' },
  });
  headers.set('location', redirectTo);
  return new Response(null, { status: 302, headers });
}

async function end(env) {
  const { keys } = await env.OAUTH_KV.list({ prefix: 'token:' });
  for (const { name } of keys) await env.OAUTH_KV.delete(name);
  return keys.length;
}

function made(env) {
  return new OAuthProvider({
    apiRoute: '/mcp',
    apiHandler,
    defaultHandler,
    authorizeEndpoint: '/authorize',
    tokenEndpoint: '/oauth/token',
    clientRegistrationEndpoint: '/oauth/register',
    scopesSupported: [SCOPE],
    requiredScopes: [SCOPE],
    resourceMetadata: { resource: `${env.PUBLIC_URL}/mcp`, authorization_servers: [env.PUBLIC_URL] },
  });
}

export default {
  fetch(request, env, context) {
    provider ??= made(env);
    return provider.fetch(request, env, context);
  },
};
