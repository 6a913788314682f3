// An MCP server that speaks HTTP/2 and nothing else, over TLS. Run: node http2_server.mjs CERTIFICATE KEY
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";

const [certificate, key] = process.argv.slice(2);
const tools = [{ name: "echo", description: "Gives back its text", inputSchema: { type: "object" } }];
const results = {
  initialize: { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "h2", version: "1" } },
  "tools/list": { tools },
};

const server = createSecureServer({ allowHTTP1: false, cert: readFileSync(certificate), key: readFileSync(key) });
server.on("stream", (stream, headers) => {
  let body = "";
  stream.on("data", (chunk) => (body += chunk));
  stream.on("end", () => {
    const message = headers[":method"] === "POST" ? JSON.parse(body) : {};
    if (!("id" in message)) {
      stream.respond({ ":status": headers[":method"] === "POST" ? 202 : 405 });
      return stream.end();
    }
    stream.respond({ ":status": 200, "content-type": "application/json" });
    stream.end(JSON.stringify({ jsonrpc: "2.0", id: message.id, result: results[message.method] }));
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
