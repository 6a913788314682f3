"""`make local`: the addresses and users in target/local.json work, and nothing is left when it ends.

Each run has its own target folder, so that a running stack of a developer is not affected.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3
import pytest

from local.processes import ROOT, TARGET
from local.stack import FUNCTIONS
from tests.lab import AuthorizationServer, ProtectedServer, follow
from tests.support import script, wait_for

MARK = "LOCAL_TEST_RUN"
UP_WITHIN_SECONDS = 120


class Run:
    """One run of `make local`, or of local.up directly, until it is stopped."""

    def __init__(self, folder: Path, command=None, **environment: str):
        self.mark = uuid.uuid4().hex
        self.target = folder / "target"
        self.json = self.target / "local.json"
        self.log = folder / "log"
        (folder / "tmp").mkdir()
        self.temporary = folder / "tmp"
        own = {"CARGO_TARGET_DIR": str(self.target), "TMPDIR": str(self.temporary), MARK: self.mark}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("MODEL_URL", "MODEL_ID", "PROFILE", "SERVERS")
        }
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                command or [sys.executable, "-m", "local.up"],
                env=inherited | own | environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until_up(self) -> dict:
        def is_up():
            assert self.child.poll() is None, self.said
            return self.json.exists()

        wait_for(is_up, UP_WITHIN_SECONDS)
        return json.loads(self.json.read_text())

    def end(self, sign=signal.SIGTERM) -> int:
        self.child.send_signal(sign)
        return self.child.wait(timeout=60)

    @property
    def processes(self) -> list[str]:
        """The command lines of all running processes that the run has started."""
        found, mark = [], f"{MARK}={self.mark}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def left(self) -> list[str]:
        """Returns what the run has left behind: processes, its local.json, folders of its local AWS."""
        files = [str(path) for path in (*self.target.glob("*local.json*"), *self.temporary.glob("mcp-agents-*"))]
        return self.processes + files

    def kill(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)


@pytest.fixture
def start():
    """Starts a run with these folders in its target folder: `start(debug=names, release=names)`."""
    started, folders = [], []

    def make(
        makes=False, stale: str | None = None, debug=(*FUNCTIONS, "test-support"), release=(), **environment
    ) -> Run:
        # In the system's folder for temporary files: the length of paths of sockets is limited.
        folder = Path(tempfile.mkdtemp(prefix="local-test-"))
        folders.append(folder)
        for profile, names in (("debug", debug), ("release", release)):
            (folder / "target" / profile).mkdir(parents=True)
            for name in names:
                (folder / "target" / profile / name).symlink_to(TARGET / "debug" / name)
        if stale:
            (folder / "target" / "local.json").write_text(stale)
        # The Makefile sets the target folder itself; a variable on the command line takes precedence.
        command = ["make", "local", f"CARGO_TARGET_DIR={folder / 'target'}"] if makes else None
        started.append(Run(folder, command, **environment))
        return started[-1]

    yield make
    for run in started:
        run.kill()
    for folder in folders:
        shutil.rmtree(folder)


def ask(url: str, token: str | None, method="GET", body=None):
    """Sends one request. Returns the status and the JSON body."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, json.loads(answer.read() or "null")


def client(up: dict, service: str):
    """Returns a client of the running local AWS."""
    return boto3.client(
        service,
        region_name=up["region"],
        endpoint_url=up["endpoint"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def sign_in(up: dict, groups: list[str]) -> str:
    """Signs in the user with these groups, and returns the access token."""
    [user] = [user for user in up["users"] if user["groups"] == groups]
    signed_in = client(up, "cognito-idp").initiate_auth(
        AuthFlow="USER_PASSWORD_AUTH",
        ClientId=up["outputs"]["UserPoolClientId"],
        AuthParameters={"USERNAME": user["username"], "PASSWORD": user["password"]},
    )
    return signed_in["AuthenticationResult"]["AccessToken"]


def test_what_the_file_says_can_be_used_and_sigterm_leaves_nothing(start):
    run = start()
    up = run.wait_until_up()
    assert set(up) == {"endpoint", "region", "urls", "outputs", "users"}
    assert [user["groups"] for user in up["users"]] == [["Admin"], ["Author"], []]
    assert {"JobsApiUrl", "JobsApiId", "UserPoolId", "ExternalMCPAgentsSecretArn"} <= set(up["outputs"])
    assert stat.S_IMODE(run.json.stat().st_mode) == 0o600

    api = up["urls"]["api"]
    assert ask(f"{api}/openapi.json", None)[0] == 200
    assert ask(f"{api}/agents", None)[0] == 401
    assert ask(f"{api}/agents", sign_in(up, []))[0] == 403
    assert ask(f"{api}/agents", sign_in(up, ["Admin"]))[0] == 200
    author = sign_in(up, ["Author"])
    status, agents = ask(f"{api}/agents", author)
    assert status == 200
    assert [(agent["agent_id"], agent["status"]) for agent in agents] == [
        ("calculator", "available"),
        ("client_addresses", "available"),
    ]
    question = script({"call": "add", "with": {"a": 2, "b": 3}}, {"say": "The sum is {result}."})
    status, job = ask(f"{api}/jobs", author, "POST", {"query": question, "agentIds": ["calculator"]})
    assert status == 202, job
    ended = wait_for(
        lambda: (found := ask(f"{api}/jobs/{job['jobId']}", author)[1])["status"] in ("COMPLETED", "FAILED") and found
    )
    assert ended["status"] == "COMPLETED" and "5" in json.dumps(ended["result"])

    # The local AWS, two example servers, the stand-in for a model, and local.up itself.
    assert len(run.processes) >= 5
    assert run.end() == 0, run.said
    assert run.left() == []


def test_make_passes_sigterm_on_and_release_binaries_go_without_servers(start):
    """Only the release folder has the functions, so they must be deployed from there, without a build."""
    run = start(makes=True, debug=["test-support"], release=FUNCTIONS, PROFILE="release", SERVERS="none")
    up = run.wait_until_up()
    assert ask(f"{up['urls']['api']}/agents", sign_in(up, ["Author"])) == (200, [])
    assert not [command for command in run.processes if " example " in command]
    run.end()
    wait_for(lambda: not run.left(), 30)


def test_a_user_signs_in_to_a_server_by_way_of_the_local_address(start, stands):
    run = start(SERVERS="none")
    up = run.wait_until_up()
    server = stands(ProtectedServer, stands(AuthorizationServer))
    secrets = client(up, "secretsmanager")
    entry = {"mcp_url": server.url, "agent_name": "notes", "auth_type": "oauth2"}
    secrets.put_secret_value(SecretId=up["outputs"]["ExternalMCPAgentsSecretArn"], SecretString=json.dumps([entry]))
    api, author = up["urls"]["api"], sign_in(up, ["Author"])
    status, started = ask(f"{api}/oauth/start", author, "POST", {"agent_id": "notes"})
    assert status == 200, started
    asked = dict(parse_qsl(urlsplit(started["authorization_url"]).query))
    assert asked["redirect_uri"] == up["outputs"]["OAuthCallbackUrl"] == f"{api}/oauth/callback"
    back = urlencode(follow(f"{started['authorization_url']}&login_hint=author"))
    with urllib.request.urlopen(f"{asked['redirect_uri']}?{back}", timeout=60) as page:
        assert page.status == 200
    assert ask(f"{api}/oauth/complete", author, "POST", {"state": started["state"]})[0] == 200
    assert [(agent["agent_id"], agent["status"]) for agent in ask(f"{api}/agents?refresh=true", author)[1]] == [
        ("notes", "available")
    ]


def test_ctrl_c_ends_it_and_leaves_nothing(start):
    run = start(SERVERS="none")
    run.wait_until_up()
    assert run.end(signal.SIGINT) == 0
    assert run.left() == [] and "Stopping ..." in run.said


def test_a_stale_file_is_removed_at_once_and_a_start_can_be_ended(start):
    run = start(stale="{}")
    wait_for(lambda: "[2/4]" in run.said, 60)
    assert not run.json.exists()
    assert run.end() == 0
    assert run.left() == []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PROFILE": "release"}, "run `make build`"),
        ({"PROFILE": "fast"}, "it is debug or release"),
        ({"SERVERS": "some"}, "it is example or none"),
    ],
)
def test_a_run_that_cannot_start_says_why_and_leaves_nothing(start, environment, says):
    run = start(stale="{}", **environment)
    assert run.child.wait(timeout=60) == 1
    assert says in run.said
    assert run.left() == []
