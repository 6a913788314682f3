"""An MCP server of the Python SDK 1.30, the last that serves HTTP+SSE, on a free loopback port.

Runs in an environment of its own (tests/peers/mcp-requirements.txt) and prints the port as its first line.
It knows no OAuth: a bearer token is one fixed text, or nothing is asked.

Environment: TRANSPORT is sse (default, at /sse) or streamable-http (at /mcp); REQUIRE_BEARER is the token
that every request must bring. GET /_seen tells the requests so far, and how many are open now.
"""

import json
import os
import socket
import threading
import time
from collections import Counter

import anyio
import uvicorn
from mcp.server.fastmcp import FastMCP

TRANSPORT = os.environ.get("TRANSPORT", "sse")
REQUIRE_BEARER = os.environ.get("REQUIRE_BEARER")

server = FastMCP("sse-peer", host="127.0.0.1")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
async def slow(seconds: float) -> str:
    """Answers after a while."""
    await anyio.sleep(seconds)
    return f"slept for {seconds} s"


class Front:
    """Counts what comes, and lets nobody in without the token."""

    def __init__(self, app):
        self.app = app
        self.requests = Counter()
        self.open = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["path"] == "/_seen":
            return await answer(send, 200, {"requests": self.requests, "open": self.open})
        self.requests[f"{scope['method']} {scope['path'].rstrip('/')}"] += 1
        bearer = dict(scope["headers"]).get(b"authorization", b"").decode()
        if REQUIRE_BEARER and bearer != f"Bearer {REQUIRE_BEARER}":
            return await answer(send, 401, {"error": "invalid_token"}, [(b"www-authenticate", b"Bearer")])
        self.open += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.open -= 1


async def answer(send, status, body, headers=()):
    headers = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def end_with_parent():
    """Whoever started this may be killed without a chance to stop it."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main():
    threading.Thread(target=end_with_parent, daemon=True).start()
    app = server.sse_app() if TRANSPORT == "sse" else server.streamable_http_app()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    # Streams of clients that have gone must not hold up the end.
    config = uvicorn.Config(Front(app), log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
