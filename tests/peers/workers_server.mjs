// Runs workers_app.mjs, a server with @cloudflare/workers-oauth-provider, in miniflare: the runtime of
// Cloudflare Workers, here. Run it where its packages are installed; its first line on stdout says where it
// listens. PUBLIC_URL is the origin that clients know the server by; it has to be given, since the app is told it
// before there is a port.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

// This file lies in the source tree, the packages below the working directory.
const require = createRequire(`${process.cwd()}/`);
const { Miniflare } = await import(pathToFileURL(require.resolve('miniflare')));

const app = fileURLToPath(new URL('workers_app.mjs', import.meta.url));
const library = `${process.cwd()}/node_modules/@cloudflare/workers-oauth-provider/dist/oauth-provider.js`;
const workers = new Miniflare({
  host: '127.0.0.1',
  port: 0,
  modules: [
    { type: 'ESModule', path: 'workers_app.mjs', contents: readFileSync(app, 'utf8') },
    { type: 'ESModule', path: '@cloudflare/workers-oauth-provider', contents: readFileSync(library, 'utf8') },
  ],
  compatibilityDate: '2026-07-01',
  kvNamespaces: ['OAUTH_KV'],
  bindings: { PUBLIC_URL: process.env.PUBLIC_URL },
  cf: false, // it would be fetched from elsewhere
});

async function end() {
  await workers.dispose();
  process.exit();
}
process.on('SIGTERM', end);
// Whoever started this may be killed without a chance to stop it.
const parent = process.ppid;
setInterval(() => process.ppid === parent || end(), 1000).unref();

console.log((await workers.ready).origin);
