"""MCP servers that need an access token: streamable HTTP with JSON answers. One behaves like an AgentCore runtime."""

import json
import time
import uuid
from urllib.parse import quote

from .loopback import Answer, LoopbackServer, Request, with_overrides

MCP_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


class ProtectedServer(LoopbackServer):
    """An MCP server (streamable HTTP, JSON answers, no sessions) behind an authorization server.

    The authorization server is any object with `issuer` and `introspect(token)`. A tool returns its name, its arguments
    and the user. `requests("tools/call")` returns the requests with that MCP method, `requests("metadata")` those for
    the protected resource metadata.
    """

    def __init__(self, authorization_server, path: str = "/mcp", tools=("read_notes", "write_notes"), **settings):
        super().__init__()
        self.authorization_server = authorization_server
        self.target = path  # raw, with its query
        self.url = self.base + path
        self.inserted = f"/.well-known/oauth-protected-resource{path}"
        self.root = "/.well-known/oauth-protected-resource"
        self.locations = [self.inserted]  # paths of its metadata; other paths return 404
        self.metadata: dict = {}  # replaces fields of the correct metadata; None omits a field
        self.metadata_answer: Answer | None = None
        self.tools = list(tools)
        # The 401
        self.challenge: dict = {}  # replaces parameters of WWW-Authenticate; None omits one
        self.challenge_text: str | None = None  # replaces the whole header; "" omits it
        self.challenge_header = "WWW-Authenticate"
        self.checks_audience = True
        self.refused: set[str] = set()  # access tokens that this server refuses although they are active
        # The 403
        self.needs: dict[str, str] = {}  # by tool or MCP method: the scopes that it needs
        self.step_up: dict = {}  # replaces parameters of the 403's WWW-Authenticate
        self.never_enough = False  # no token ever has enough scopes
        self.open: set[str] = set()  # MCP methods that need no token
        self.unchecked: set[str] = set()  # MCP methods that accept any token
        self.delays: dict[str, float] = {}  # by MCP method: seconds before the answer

        self.unauthenticated = 0  # number of requests without a token
        self._start(settings)

    @property
    def resource(self) -> str:
        return self.metadata.get("resource") or self.url

    def refuse_all(self):
        """Makes the server refuse every token that it has seen so far."""
        with self.lock:
            self.refused |= {request.bearer for request in self.seen if request.bearer}

    def answer(self, request: Request) -> Answer | None:
        if "/.well-known/" in request.route:
            request.endpoint = "metadata"
            return self._metadata(request)
        if request.path != self.target:
            return Answer(404, "<h1>Not Found</h1>")
        message = request.json if request.body else {}
        request.endpoint = message.get("method", request.method)
        token = request.bearer
        if not token and message.get("method") in self.open:
            return self._result(message, {}) if "id" in message else Answer(202)
        if not token:
            with self.lock:
                self.unauthenticated += 1
            return self._challenge()
        found = self.authorization_server.introspect(token)
        if message.get("method") not in self.unchecked and (not found["active"] or token in self.refused):
            return self._bad_token(token)
        if self.checks_audience and not self._is_for_us(found.get("aud")):
            return self._wrong_audience()
        if missing := self._missing_scope(message, found.get("scope") or ""):
            return self._insufficient_scope(missing)
        time.sleep(self.delays.get(request.endpoint, 0))
        if request.method != "POST":
            return Answer(405)
        if "id" not in message:
            return Answer(202)
        return self._result(message, found)

    # Refusals

    def _metadata(self, request: Request) -> Answer:
        if request.path not in self.locations:
            return Answer(404, "<h1>Not Found</h1>")
        if self.metadata_answer:
            return self.metadata_answer
        right = {"resource": self.url, "authorization_servers": [self.authorization_server.issuer]}
        return Answer(200, with_overrides(right, self.metadata))

    def _header(self, right: dict, wrong: dict) -> dict[str, str]:
        text = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in with_overrides(right, wrong).items())
        text = text.strip() if self.challenge_text is None else self.challenge_text
        return {self.challenge_header: text} if text else {}

    def _challenge(self, **parameters: str) -> Answer:
        right = {"resource_metadata": f"{self.base}{self.locations[0]}" if self.locations else None}
        return Answer(401, {"error": "invalid_token"}, self._header(right | parameters, self.challenge))

    def _bad_token(self, token: str) -> Answer:
        return self._challenge(error="invalid_token")

    def _wrong_audience(self) -> Answer:
        return self._challenge(error="invalid_token", error_description="the token is for another resource")

    def _is_for_us(self, audience) -> bool:
        """A token without an audience is accepted: not every authorization server supports resource indicators."""
        return audience is None or self.resource in (audience if isinstance(audience, list) else [audience])

    def _missing_scope(self, message: dict, scope: str) -> str | None:
        wanted = (message.get("method"), message.get("params", {}).get("name"))
        needed = " ".join(self.needs[name] for name in wanted if name in self.needs)
        has_all = set(needed.split()) <= set(scope.split())
        return needed if needed and (self.never_enough or not has_all) else None

    def _insufficient_scope(self, needed: str) -> Answer:
        right = {"error": "insufficient_scope", "scope": needed}
        if self.locations:
            right["resource_metadata"] = f"{self.base}{self.locations[0]}"
        return Answer(403, {"error": "insufficient_scope"}, self._header(right, self.step_up))

    # MCP

    def _result(self, message: dict, found: dict) -> Answer:
        method, params = message["method"], message.get("params", {})
        if method == "initialize":
            asked = params.get("protocolVersion")
            result = {
                "protocolVersion": asked if asked in MCP_VERSIONS else MCP_VERSIONS[-1],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "protected", "version": "1"},
            }
        elif method == "ping":
            result = {}
        elif method == "tools/list":
            result = {"tools": [_tool(each) for each in self.tools]}
        elif method == "tools/call":
            said = {"tool": params["name"], "arguments": params.get("arguments", {}), "user": found.get("sub")}
            result = {"content": [{"type": "text", "text": json.dumps(said)}]}
        else:
            error = {"code": -32601, "message": f"Method not found: {method}"}
            return Answer(200, {"jsonrpc": "2.0", "id": message["id"], "error": error})
        return Answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


def _tool(tool: str | dict) -> dict:
    if isinstance(tool, dict):
        return tool
    return {"name": tool, "description": f"The tool {tool}", "inputSchema": {"type": "object"}}


class AgentCoreServer(ProtectedServer):
    """Behaves like an AgentCore runtime: an encoded ARN in the path, a query, and metadata only at AgentCore's path.

    A request without a token gets 401, an unknown token 403, and a token with another audience 401.
    """

    ARN = "arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/notes-Ab12Cd34Ef"

    def __init__(self, authorization_server, arn: str = ARN, qualifier: str = "DEFAULT", **settings):
        path = f"/runtimes/{quote(arn, safe='')}/invocations"
        appended = f"{path}/.well-known/oauth-protected-resource?qualifier={qualifier}"
        settings = {"locations": [appended]} | settings
        super().__init__(authorization_server, f"{path}?qualifier={qualifier}", **settings)

    def answer(self, request: Request) -> Answer | None:
        session = request.headers.get("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id")
        if session is not None and not 33 <= len(session) <= 256:
            return Answer(400, {"message": "The runtime session id must have 33 to 256 characters"})
        answer = super().answer(request)
        if request.endpoint == "initialize" and answer and answer.status == 200:
            answer.headers["Mcp-Session-Id"] = str(uuid.uuid4())
        return answer

    def _bad_token(self, token: str) -> Answer:
        # Only `AuthorizationServer` can distinguish an invalid token that it has issued from an unknown one.
        gave = getattr(self.authorization_server, "has_issued", lambda _: False)
        if token in self.refused or gave(token):
            return self._challenge()
        return Answer(403, {"message": "OAuth authorization failed: Failed to parse token"})

    def _wrong_audience(self) -> Answer:
        answer = self._challenge()
        answer.body = {"message": "Claim 'aud' value mismatch with configuration"}
        return answer
