"""MCP servers without OAuth, with any revision of the protocol and any required headers."""

import json

from .loopback import Answer, LoopbackServer, Request

STATELESS = "2026-07-28"


class PlainServer(LoopbackServer):
    """An MCP server (streamable HTTP, JSON answers, no sessions) that supports exactly one revision.

    `wants` has the headers that every request must have. Revision 2026-07-28 has no `initialize`: the server refuses it
    with `refusal`, and checks the headers and `_meta` that describe each request. A tool returns its arguments.
    `requests("tools/call")` returns the requests with that MCP method.
    """

    def __init__(self, wants: dict[str, str] | None = None, **settings):
        super().__init__()
        self.url = f"{self.base}/mcp"
        self.wants = wants or {}
        self.revision = "2025-11-25"
        self.refusal = Answer(
            404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32601, "message": "no such method"}}
        )
        self.tools = ["read_notes"]
        self._start(settings)

    def answer(self, request: Request) -> Answer:
        message = request.json if request.body else {}
        request.endpoint = message.get("method", request.method)
        if any(request.headers.get(name) != value for name, value in self.wants.items()):
            return Answer(401, {"error": "invalid_token"}, {"www-authenticate": "Bearer"})
        if request.method != "POST":
            return Answer(405)
        if self.revision == STATELESS:
            return self._stateless(request, message)
        if "id" not in message:
            return Answer(202)
        if request.endpoint == "initialize":
            server = {"protocolVersion": self.revision, "capabilities": {"tools": {}}}
            return _result(message, server | {"serverInfo": {"name": "plain", "version": "1"}})
        return self._outcome(message)

    def _outcome(self, message: dict, **beside) -> Answer:
        params = message.get("params", {})
        if message["method"] == "tools/list":
            tools = [
                {"name": name, "description": f"The tool {name}", "inputSchema": {"type": "object"}}
                for name in self.tools
            ]
            return _result(message, {"tools": tools} | beside)
        if message["method"] == "tools/call":
            return _result(message, {"content": [{"type": "text", "text": json.dumps(params["arguments"])}]} | beside)
        return _error(message, 200, -32601)

    def _stateless(self, request: Request, message: dict) -> Answer:
        method, params = message.get("method"), message.get("params", {})
        if method == "initialize":
            return self.refusal
        meta = params.get("_meta", {})
        said = request.headers.get
        if not said("mcp-protocol-version") or said("mcp-method") != method or said("mcp-name") != params.get("name"):
            return _error(message, 400, -32020)
        if meta.get("io.modelcontextprotocol/protocolVersion") != said("mcp-protocol-version"):
            return _error(message, 400, -32020)
        if not isinstance(meta.get("io.modelcontextprotocol/clientCapabilities"), dict):
            return _error(message, 400, -32602)
        if said("mcp-protocol-version") != STATELESS:
            return _error(message, 400, -32022, {"supported": [STATELESS], "requested": said("mcp-protocol-version")})
        kept = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if method == "server/discover":
            return _result(message, {"supportedVersions": [STATELESS], "capabilities": {"tools": {}}} | kept)
        if method == "tools/list":
            return self._outcome(message, **kept)
        return self._outcome(message, resultType="complete") if method == "tools/call" else _error(message, 404, -32601)


def _result(message: dict, result: dict) -> Answer:
    return Answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


def _error(message: dict, status: int, code: int, data: dict | None = None) -> Answer:
    error = {"code": code, "message": "refused"} | ({"data": data} if data else {})
    return Answer(status, {"jsonrpc": "2.0", "id": message.get("id"), "error": error})
