"""Runs the command line `mcp-agents` as a user does."""

import json
import os
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from local.processes import TARGET


class CommandLine:
    """`mcp-agents` with its own home folder. The entries are in a file in that folder.

    With `aws` (the environment of a local AWS) and `secret` (a name), the entries are in that secret instead. Without
    them, no AWS is reachable. `printed` is all output of all commands.
    """

    NO_AWS = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }

    def __init__(self, home: Path, aws: dict[str, str] | None = None, secret: str | None = None):
        home.mkdir(parents=True, exist_ok=True)
        self.environment = (aws or os.environ | self.NO_AWS) | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": "",
            "ALLOW_PRIVATE_MCP_SERVERS": "true",
            "EXTERNAL_MCP_AGENTS_SECRET": secret or "",
        }
        self.file = home / "secret.json"
        self.where = [] if secret else ["--secret", self.file]
        self.tokens = home / ".config" / "mcp-agents" / "tokens.json"
        self.printed = ""
        self.pending = []

    def put(self, *entries: dict | str):
        """Writes the entries to the file. A single text is written unchanged."""
        is_text = len(entries) == 1 and isinstance(entries[0], str)
        self.file.write_text(entries[0] if is_text else json.dumps(entries))

    @property
    def entries(self) -> list[dict]:
        return json.loads(self.file.read_text())

    def run(self, command: str, *arguments, stdin: str = "", **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [TARGET / "debug" / "mcp-agents", command, *self.where, *arguments],
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.printed += done.stdout + done.stderr
        return done

    def start(self, command: str, *arguments, **environment: str) -> "PendingSignIn":
        """Starts a command that waits for a user to sign in with a browser."""
        self.pending.append(PendingSignIn(self, [command, *self.where, *arguments, "--no-browser"], environment))
        return self.pending[-1]

    def doctor(self, *arguments, **environment: str) -> list[dict]:
        """Returns the report of `mcp-agents doctor --json` for each entry."""
        return json.loads(self.run("doctor", "--json", *arguments, **environment).stdout)

    def stop(self):
        for pending in self.pending:
            pending.stop()


class PendingSignIn:
    """A running command that has printed the authorization URL, and waits for the browser at its redirect URI."""

    def __init__(self, line: CommandLine, arguments: list, environment: dict[str, str]):
        self.line = line
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open while the child runs)
        self.child = subprocess.Popen(
            [TARGET / "debug" / "mcp-agents", *arguments],
            env=line.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.patience = threading.Timer(60, self.child.kill)
        self.patience.start()
        self.said = ""
        self.url = None
        while self.url is None and (said := self.child.stdout.readline()):
            self.said += said
            self.url = said.strip() if said.startswith("  http") else None
        assert self.url, f"the command printed no URL: {self.said}{self.done().stderr}"
        self.parameters = dict(parse_qsl(urlsplit(self.url).query))

    def open_redirect_uri(self, query: dict[str, str | None], to: str | None = None) -> str:
        """Opens the redirect URI with these parameters, as a browser does, and returns the page. None omits one."""
        query = {name: value for name, value in query.items() if value is not None}
        url = f"{to or self.parameters['redirect_uri']}?{urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            page = answer.read().decode()
        self.line.printed += page
        return page

    @property
    def error_text(self) -> str:
        """What the command has written to standard error so far."""
        # pread leaves the file position alone: the child writes at that position.
        return os.pread(self.errors.fileno(), 1 << 16, 0).decode()

    def done(self) -> subprocess.CompletedProcess:
        """Waits until the command ends, and returns its exit code and output."""
        stdout = self.said + self.child.stdout.read()
        code = self.child.wait()
        self.stop()
        self.errors.seek(0)
        done = subprocess.CompletedProcess([], code, stdout, self.errors.read())
        self.line.printed += done.stdout + done.stderr
        return done

    def stop(self):
        self.patience.cancel()
        self.child.kill()
        self.child.wait()
