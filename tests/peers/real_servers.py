"""MCP servers that people really run, each a process: the official SDKs, FastMCP, Cloudflare's OAuth provider.

Each stands behind a `Recorder`, so that a test sees what was said to it.
"""

import json
import time
import urllib.error
import urllib.request
from urllib.parse import urlencode

from tests.lab.authorization_server import AuthorizationServer
from tests.lab.recorder import Exchange, Recorder
from tests.support import wait_for

from . import HERE, TOOLS, Peer

NODE = TOOLS / "node" / "bin" / "node"
# Which line of the Python SDK, and of FastMCP beside it, is installed where.
PYTHON = {1: TOOLS / "mcp-1.30" / "bin" / "python", 2: TOOLS / "mcp-2" / "bin" / "python"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "probe", "version": "1"}},
}


class RealServer:
    """A peer with one tool, `count_calls`, which says how often it was called. `url` is its MCP endpoint."""

    def __init__(self, command: list, cwd=HERE, **environment: str):
        self.recorder = Recorder()
        self.url = f"{self.recorder.base}/mcp"
        self._command = (command, {"PUBLIC_URL": self.recorder.base} | environment, cwd)
        self.peer: Peer | None = None
        try:
            self.restart()
        except BaseException:
            self.recorder.stop()
            raise

    def restart(self):
        """Starts it anew, at the same URL. What it held in memory is gone: clients, tokens, sessions."""
        if self.peer:
            self.peer.stop()
        self.peer = Peer(*self._command)
        self.recorder.upstream = self.peer.said

    def stop(self):
        self.peer.stop()
        self.recorder.stop()

    def requests(self, endpoint: str, **form: str) -> list[Exchange]:
        return self.recorder.requests(endpoint, **form)

    def post(self, path: str, body: str = "", headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Asks the server itself, with the Host that it is known by; the recorder does not see it."""
        headers = {"host": self.recorder.base.removeprefix("http://")} | (headers or {})
        request = urllib.request.Request(self.peer.said + path, body.encode(), headers, method="POST")
        try:
            answer = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read().decode()


class SignInServer(RealServer):
    """A server that is its own authorization server."""

    consent: dict[str, str] | None = None  # how its consent page's form is filled in, if it has one

    def register(self, redirect_uri: str, method: str) -> dict:
        """Registers a client beforehand, as an operator would; gives the fields that an entry has for it."""
        with urllib.request.urlopen(f"{self.recorder.base}/.well-known/oauth-authorization-server") as answer:
            endpoint = json.load(answer)["registration_endpoint"]
        grants = {"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]}
        asked = {"client_name": "ours", "redirect_uris": [redirect_uri], "token_endpoint_auth_method": method} | grants
        path = endpoint.removeprefix(self.recorder.base)
        status, answer = self.post(path, json.dumps(asked), {"content-type": "application/json"})
        assert status == 201, answer
        registered = json.loads(answer)
        return {name: registered[name] for name in ("client_id", "client_secret")}

    @property
    def secrets(self) -> set[str]:
        """Every token, code verifier and client secret that was sent to it or came from it."""
        with_secrets = self.requests("register") + self.requests("token")
        answers = [each.answer for each in with_secrets if each.status < 300]
        given = [answer.get(name) for answer in answers for name in ("access_token", "refresh_token", "client_secret")]
        return {*given, *(each.form.get("code_verifier") for each in self.requests("token"))} - {None}

    def takes(self, access_token: str) -> bool:
        """Whether the server lets in a request with this token, here and now."""
        headers = {"authorization": f"Bearer {access_token}", "accept": "application/json, text/event-stream"}
        status, answer = self.post("/mcp", json.dumps(INITIALIZE), headers | {"content-type": "application/json"})
        assert status in (200, 401), answer
        return status == 200

    def refreshes(self, refresh_token: str) -> bool:
        """Whether the server exchanges this token, as the client that asked last; one that rotates uses it up."""
        last = self.requests("token")[-1]
        form = {name: last.form[name] for name in ("client_id", "client_secret") if name in last.form}
        form |= {"grant_type": "refresh_token", "refresh_token": refresh_token}
        proof = {"authorization": last.headers["authorization"]} if "authorization" in last.headers else {}
        status, answer = self.post(last.path, urlencode(form), proof)
        assert status == 200 or json.loads(answer)["error"] == "invalid_grant", answer
        return status == 200

    def wait_until_over(self, access_token: str):
        """Waits for an access token's end, as the server sees it."""
        wait_for(lambda: not self.takes(access_token), every=0.05)

    def end_access_tokens(self):
        """Ends every access token here and now, whatever it said of its life. Refresh tokens still serve."""
        status, answer = self.post("/_end_access_tokens")
        assert status == 200 and json.loads(answer)["ended"] > 0, answer


class PythonSdk(SignInServer):
    """The authorization endpoints of the official Python SDK; see python_sdk_server.py."""

    def __init__(self, line: int, access_token_seconds: int = 3600):
        environment = {"SIGN_IN": "oauth", "ACCESS_TOKEN_SECONDS": str(access_token_seconds)}
        super().__init__([PYTHON[line], HERE / "python_sdk_server.py"], **environment)


class FastMcp(SignInServer):
    """FastMCP with its in-memory authorization server; see fastmcp_server.py.

    Where an access token comes that is over, this server drops the refresh token that belongs to it.
    """

    def __init__(self, line: int, access_token_seconds: int = 3600):
        environment = {"AUTH": "in_memory", "ACCESS_TOKEN_SECONDS": str(access_token_seconds)}
        super().__init__([PYTHON[line], HERE / "fastmcp_server.py"], **environment)
        self.access_token_seconds = access_token_seconds

    def wait_until_over(self, access_token: str):
        """Its end cannot be asked about without ending the grant too."""
        time.sleep(self.access_token_seconds)

    def end_access_tokens(self):
        raise NotImplementedError("it would end the grants too")


class FastMcpProxy(SignInServer):
    """FastMCP's OAuthProxy, which shows a consent page and signs users in at `upstream`; see fastmcp_server.py."""

    consent = {"action": "approve"}

    def __init__(self, line: int, access_token_seconds: int = 3600):
        self.upstream = AuthorizationServer(
            scopes=["notes"], default_scope="notes", access_token_seconds=access_token_seconds
        )
        try:
            command = [PYTHON[line], HERE / "fastmcp_server.py"]
            super().__init__(command, AUTH="proxy", UPSTREAM=self.upstream.issuer)
        except BaseException:
            self.upstream.stop()
            raise
        self.upstream.add_client("proxy", "proxy-secret", redirect_uris=[f"{self.recorder.base}/auth/callback"])

    def end_access_tokens(self):
        self.upstream.expire_access_tokens()

    def stop(self):
        super().stop()
        self.upstream.stop()

    @property
    def secrets(self) -> set[str]:
        return super().secrets | self.upstream.secrets


class TypeScriptSdk(SignInServer):
    """The authorization endpoints of the official TypeScript SDK; see typescript_sdk_server.mjs."""

    def __init__(self, access_token_seconds: int = 3600):
        environment = {"SIGN_IN": "oauth", "ACCESS_TOKEN_SECONDS": str(access_token_seconds)}
        super().__init__([NODE, HERE / "typescript_sdk_server.mjs"], cwd=TOOLS / "peers", **environment)


class Workers(SignInServer):
    """Cloudflare's workers-oauth-provider in miniflare, with a consent page; see workers_app.mjs.

    Its access tokens say that they live for an hour, and end when they are told to.
    """

    consent = {"decision": "approve"}

    def __init__(self):
        super().__init__([NODE, HERE / "workers_server.mjs"], cwd=TOOLS / "peers")

    def wait_until_over(self, access_token: str):
        self.end_access_tokens()
        super().wait_until_over(access_token)


class SessionServer(RealServer):
    """A server of an official SDK without a sign-in, with sessions that it can be told to forget."""

    def forget_sessions(self):
        """Forgets every session, as a restart would."""
        status, answer = self.post("/_forget_sessions")
        assert status == 200 and json.loads(answer)["forgotten"] > 0, answer


class PythonSdkSessions(SessionServer):
    """Refuses a session that it does not know with 404 and an error whose id is "server-error"."""

    def __init__(self, line: int):
        super().__init__([PYTHON[line], HERE / "python_sdk_server.py"])


class TypeScriptSdkSessions(SessionServer):
    """Refuses a session that it does not know with `status`, 404 or 400, and an error whose id is null."""

    def __init__(self, status: int):
        command = [NODE, HERE / "typescript_sdk_server.mjs"]
        super().__init__(command, cwd=TOOLS / "peers", LOST_SESSION=str(status))
