"""Starts and stops the peers that are programs of others, each a process on a free loopback port.

`make end-to-end-test` installs them below target/tools. They behave well: for servers that do not, see
tests/lab. The servers that people sign in to out there are in real_servers.py.
"""

import json
import re
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path

from local.processes import TARGET, Process

TOOLS = TARGET / "tools"
HERE = Path(__file__).resolve().parent
READY_WITHIN_SECONDS = 30


class Peer:
    """A process that says where it is on its first line; `stop` ends it and removes its log."""

    def __init__(self, command, environment: dict[str, str], cwd: Path):
        if not Path(command[0]).exists():
            raise RuntimeError(f"{command[0]} is not there: run make target/tools/peers/.installed and the like")
        self.folder = Path(tempfile.mkdtemp(prefix="mcp-agents-peer-"))
        self.process = Process(command, self.folder / "log", env=environment, cwd=cwd)
        self.said = self._first_line()

    def _first_line(self) -> str:
        """The first on stdout; warnings of stderr, which goes to the same log, may come before it."""
        give_up = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            if found := re.search(r"^(http://\S+|\d+)\n", self.log, re.MULTILINE):
                return found[1]
            self.process.fail_if_ended("the peer")
            if time.monotonic() > give_up:
                raise RuntimeError(f"the peer is not ready: see {self.process.log}")
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    def stop(self):
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class OidcProvider(Peer):
    """The certified authorization server; its issuer has a path. See oidc_provider.mjs for what it does.

    `clients` are registered beforehand (metadata as in a registration answer); `client_documents` says where
    the document of a client id that is an https URL really lies.
    """

    def __init__(
        self,
        access_token_seconds: int = 3600,
        access_token_format: str = "opaque",
        refresh_tokens: str = "always",
        token_delay_ms: int = 0,
        clients=(),
        client_documents: dict[str, str] | None = None,
    ):
        environment = {
            "ACCESS_TOKEN_SECONDS": str(access_token_seconds),
            "ACCESS_TOKEN_FORMAT": access_token_format,
            "REFRESH_TOKENS": refresh_tokens,
            "TOKEN_DELAY_MS": str(token_delay_ms),
            "CLIENTS": json.dumps(list(clients)),
            "CLIENT_DOCUMENTS": json.dumps(client_documents or {}),
        }
        command = [TOOLS / "node" / "bin" / "node", HERE / "oidc_provider.mjs"]
        super().__init__(command, environment, cwd=TOOLS / "peers")
        self.issuer = self.said
        self.origin = self.issuer.removesuffix("/tenants/one")

    @property
    def seen(self) -> dict:
        """How often each endpoint was asked, and every token request without its secrets."""
        with urllib.request.urlopen(f"{self.origin}/_seen") as answer:
            return json.load(answer)

    def introspect(self, token: str) -> dict:
        """`{"active": false}`, or also sub, client_id, scope and aud."""
        return self._post("_introspect", {"token": token})

    def revoke_all(self) -> int:
        """Revokes every grant and token given so far; gives the number of grants."""
        return self._post("_revoke_grants", {})["revoked"]

    def _post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(f"{self.origin}/{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


class Http2Server(Peer):
    """An MCP server that speaks HTTP/2 alone, over TLS, with the tool echo; `certificate` and `key` are files."""

    def __init__(self, certificate: Path, key: Path):
        command = [TOOLS / "node" / "bin" / "node", HERE / "http2_server.mjs", certificate, key]
        super().__init__(command, {}, cwd=HERE)
        self.url = f"https://localhost:{self.said}/mcp"


class SseServer(Peer):
    """An MCP server with the tools add(a, b) and slow(seconds), by HTTP+SSE unless told otherwise."""

    def __init__(self, transport: str = "sse", bearer: str | None = None):
        environment = {"TRANSPORT": transport} | ({"REQUIRE_BEARER": bearer} if bearer else {})
        super().__init__([TOOLS / "mcp-1.30" / "bin" / "python", HERE / "sse_server.py"], environment, cwd=HERE)
        self.base = f"http://127.0.0.1:{self.said}"
        self.url = f"{self.base}/{'sse' if transport == 'sse' else 'mcp'}"

    @property
    def seen(self) -> dict:
        """Requests so far by method and path, and how many are open."""
        with urllib.request.urlopen(f"{self.base}/_seen") as answer:
            return json.load(answer)
