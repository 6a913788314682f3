"""An MCP server whose answers a test can replace one method at a time."""

import json
import uuid

from .loopback import Answer, LoopbackServer, Request

ECHO = {
    "name": "echo",
    "description": "Gives back its text",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
}


class OddServer(LoopbackServer):
    """An MCP server (streamable HTTP, JSON answers). By default all its answers are correct.

    `odd` maps an MCP method to a function that is called with the message. Its Answer is sent instead of the correct
    one; if it returns None, the correct one is sent. `results` maps a method to a result, which is sent in a correct
    JSON-RPC message. With `sessions`, the server issues session ids, and answers unknown ones with `lost`. `seen` has
    every request; its `endpoint` is the MCP method.
    """

    def __init__(self, **settings):
        super().__init__()
        self.url = f"{self.base}/mcp"
        self.odd: dict = {}
        self.results: dict = {}
        self.tools = [ECHO]
        self.sessions = False
        self.known: set[str] = set()  # valid session ids
        self.lost = lambda message: Answer(404)
        self._start(settings)

    def forget_sessions(self):
        """Makes all session ids invalid."""
        with self.lock:
            self.known.clear()

    def answer(self, request: Request) -> Answer | None:
        if request.method != "POST":
            request.endpoint = request.method
            return Answer(405)
        message = json.loads(request.body)
        method = request.endpoint = message["method"]
        if self.sessions and method != "initialize":
            with self.lock:
                is_known = request.headers.get("mcp-session-id") in self.known
            if not is_known:
                return self.lost(message)
        if method in self.odd and (odd := self.odd[method](message)) is not None:
            return odd
        if "id" not in message:
            return Answer(202)
        answer = Answer(200, result(message, self.results.get(method, self._result(message))))
        if self.sessions and method == "initialize":
            with self.lock:
                self.known.add(session := uuid.uuid4().hex)
            answer.headers["mcp-session-id"] = session
        return answer

    def _result(self, message: dict) -> dict:
        if message["method"] == "initialize":
            server = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
            return server | {"serverInfo": {"name": "odd", "version": "1"}}
        if message["method"] == "tools/list":
            return {"tools": self.tools}
        return {"content": [{"type": "text", "text": json.dumps(message["params"].get("arguments"))}]}


def result(message: dict, result) -> dict:
    """Returns the JSON-RPC response to a message, with this result."""
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def events(*blocks: str) -> Answer:
    """Returns an event stream with these events, which then ends."""
    return Answer(200, "".join(f"{block}\n\n" for block in blocks).encode(), {"content-type": "text/event-stream"})
