"""An MCP server, an authorization server and the command line with an entry, to test how each step fails."""

import re
from pathlib import Path

from tests.lab import Answer, AuthorizationServer, ProtectedServer, follow
from tests.support.command_line import CommandLine
from tests.support.entries import CANARY

EVIL = "https://evil.example.com"
PAGE = Answer(200, "<!doctype html><title>Welcome</title><h1>Our application</h1>")
# A secret that looks different when it is escaped in a form or in a header.
SECRET = f"{CANARY}+/= %"
STEPS = ["parsed", "resolved", "connected", "discovered", "signed_in", "initialized", "tools_listed"]


class Lab:
    """An MCP server behind an authorization server, and the command line with an entry for it."""

    def __init__(self, home: Path):
        self.auth = AuthorizationServer()
        self.others = []
        self.server = ProtectedServer(self.auth)
        self.line = CommandLine(home)
        self.entry()

    def entry(self, **fields):
        self.line.put({"mcp_url": self.server.url, "agent_name": "notes", "auth_type": "oauth2"} | fields)

    def machine(self, **fields):
        """Writes an entry whose client signs in for itself (client_credentials)."""
        self.auth.add_client("machine", SECRET)
        client = {"grant_type": "client_credentials", "client_id": "machine", "client_secret": SECRET}
        self.entry(**client | fields)

    def add_authorization_server(self, **settings) -> AuthorizationServer:
        self.others.append(AuthorizationServer(**settings))
        return self.others[-1]

    def failure(self, *arguments) -> dict:
        """Returns the last step of the doctor, which must be the only one that fails."""
        [report] = self.line.doctor(*arguments)
        *earlier, last = report["steps"]
        assert all(step["ok"] for step in earlier) and not last["ok"], report["steps"]
        assert last["remedy"] and last["detail"] and is_fit_to_show(last["detail"])
        return last

    def fails(self, step: str, reason: str, *arguments) -> dict:
        last = self.failure(*arguments)
        assert (last["step"], last["reason"]) == (step, reason), last
        return last

    def works(self):
        [report] = self.line.doctor()
        assert all(step["ok"] for step in report["steps"]), report["steps"][-1]
        assert [step["step"] for step in report["steps"]] == STEPS

    def refuses_to_start(self, reason: str) -> str:
        """Checks that `login` fails before it prints an authorization URL. Returns its error message."""
        done = self.line.run("login", "notes", "--no-browser")
        assert "Sign in here" not in done.stdout
        return check_failed_login(done, reason)

    def refuses(self, reason: str, **change) -> str:
        """Checks that `login` fails if the redirect has these parameters changed. Returns its error message."""
        pending = self.line.start("login", "notes")
        pending.open_redirect_uri(follow(pending.url) | change)
        return check_failed_login(pending.done(), reason)

    def sign_in(self):
        pending = self.line.start("login", "notes")
        pending.open_redirect_uri(follow(pending.url))
        done = pending.done()
        assert done.returncode == 0, done.stderr

    def token_requests(self, **form) -> int:
        return len(self.auth.requests("token", **form))

    def stop(self):
        self.line.stop()
        for each in (self.auth, self.server, *self.others):
            each.stop()


def check_failed_login(done, reason: str) -> str:
    """Checks the output of a failed login: a line each for fault, reason and remedy. Returns the fault's line."""
    assert done.returncode not in (0, None) and "Signed in" not in done.stdout
    fault, given, remedy = done.stderr.splitlines()
    assert fault.startswith("mcp-agents: ") and is_fit_to_show(fault)
    assert given.split() == ["reason", reason], fault
    assert re.match(r"\s+what to do  \S", remedy)
    return fault


def is_fit_to_show(text: str) -> bool:
    """Returns whether a text is short and has no control characters, which could affect a terminal."""
    return len(text) < 1000 and text.isprintable()


def serve_at(server, path: str, answer: Answer):
    """Makes a server return this answer at that path from now on."""
    usual = server.answer
    server.answer = lambda request: answer if request.route == path else usual(request)
