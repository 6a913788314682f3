"""`mcp-agents` as somebody at a terminal uses it."""

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
    """`mcp-agents` for somebody with a home folder of their own; the entries are in a file there.

    With the environment of a local AWS and the name of a secret they are in that. Without one there is no
    AWS. `printed` is all that it ever said.
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
        """Writes the entries; a text as it is."""
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
        """A command that sends somebody to a browser."""
        self.pending.append(PendingSignIn(self, [command, *self.where, *arguments, "--no-browser"], environment))
        return self.pending[-1]

    def doctor(self, *arguments, **environment: str) -> list[dict]:
        """What the doctor says of each entry."""
        return json.loads(self.run("doctor", "--json", *arguments, **environment).stdout)

    def stop(self):
        for pending in self.pending:
            pending.stop()


class PendingSignIn:
    """A command that has printed where to sign in, and waits for the browser to come back."""

    def __init__(self, line: CommandLine, arguments: list, environment: dict[str, str]):
        self.line = line
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open for as long as the child runs)
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
        assert self.url, f"it names no address: {self.said}{self.done().stderr}"
        self.parameters = dict(parse_qsl(urlsplit(self.url).query))

    def open_redirect_uri(self, query: dict[str, str | None], to: str | None = None) -> str:
        """Opens the redirect URI as the browser would; gives the page. None leaves a parameter out."""
        query = {name: value for name, value in query.items() if value is not None}
        with urllib.request.urlopen(f"{to or self.asked['redirect_uri']}?{urlencode(query)}", timeout=10) as answer:
            page = answer.read().decode()
        self.line.printed += page
        return page

    @property
    def error_text(self) -> str:
        """What it has said on standard error so far."""
        # Read at a place of its own: the child writes where the file's position is.
        return os.pread(self.errors.fileno(), 1 << 16, 0).decode()

    def done(self) -> subprocess.CompletedProcess:
        """Waits for its end."""
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
