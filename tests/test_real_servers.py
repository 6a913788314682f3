"""Third-party servers: sign-in, list, refresh and revocation, as a user does it.

The servers are packages from public registries: see tests/peers/real_servers.py.
"""

import json
import re

import pytest

from local.processes import free_port
from tests.lab import follow
from tests.peers.real_servers import (
    FastMcp,
    FastMcpProxy,
    PythonSdk,
    PythonSdkSessions,
    SignInServer,
    TypeScriptSdk,
    TypeScriptSdkSessions,
    Workers,
)
from tests.support import as_user, connect, own_tables, script

# Long enough for a command on a slow machine, short enough for a test to wait.
ACCESS_TOKEN_SECONDS = 2
TOOL = "count_calls"

SIGN_IN_SERVERS = {
    "python-sdk-1": lambda: PythonSdk(1, ACCESS_TOKEN_SECONDS),
    "python-sdk-2": lambda: PythonSdk(2, ACCESS_TOKEN_SECONDS),
    "fastmcp-2": lambda: FastMcp(1, ACCESS_TOKEN_SECONDS),
    "fastmcp-4": lambda: FastMcp(2, ACCESS_TOKEN_SECONDS),
    "fastmcp-2-proxy": lambda: FastMcpProxy(1, ACCESS_TOKEN_SECONDS),
    "fastmcp-4-proxy": lambda: FastMcpProxy(2, ACCESS_TOKEN_SECONDS),
    "typescript-sdk": lambda: TypeScriptSdk(ACCESS_TOKEN_SECONDS),
    "workers-oauth-provider": Workers,
}
# One server of each kind. The command line tests all servers.
# The authentication method that each server requires of a preregistered client.
HELD = [
    ("python-sdk-1", "client_secret_basic"),
    ("python-sdk-2", "client_secret_post"),
    ("typescript-sdk", "client_secret_post"),
    ("workers-oauth-provider", "client_secret_basic"),
    ("workers-oauth-provider", "client_secret_post"),
]
# Each server reports an unknown client differently.
FORGETFUL = ["python-sdk-1", "fastmcp-4", "typescript-sdk", "workers-oauth-provider"]
DEPLOYED = ["python-sdk-2", "fastmcp-4-proxy", "typescript-sdk", "workers-oauth-provider"]
SESSION_SERVERS = {
    "python-sdk-1": lambda: PythonSdkSessions(1),
    "python-sdk-2": lambda: PythonSdkSessions(2),
    "typescript-sdk-404": lambda: TypeScriptSdkSessions(404),
    "typescript-sdk-400": lambda: TypeScriptSdkSessions(400),
}


@pytest.fixture(scope="module")
def running():
    """Starts a server at its first use; it runs until the last test of this file."""
    started = {}

    def run(kinds: dict, name: str):
        key = (name, id(kinds))
        if key not in started:
            started[key] = kinds[name]()
        started[key].recorder.seen.clear()
        return started[key]

    yield run
    for each in started.values():
        each.stop()


@pytest.fixture(params=SIGN_IN_SERVERS)
def signed(request, running) -> SignInServer:
    """A server that needs users to sign in."""
    return running(SIGN_IN_SERVERS, request.param)


@pytest.fixture(params=SESSION_SERVERS)
def sessions(request, running):
    """A server with sessions that a test can delete."""
    return running(SESSION_SERVERS, request.param)


@pytest.fixture
def backend(backend, world):
    """Creates a backend without a client metadata document: FastMCP's proxy would fetch it but cannot reach it."""
    return lambda *entries: backend(entries, **own_tables(world), OAUTH_CLIENT_METADATA_URL="")


def entry(server, auth_type: str = "oauth2") -> dict:
    return {"mcp_url": server.url, "agent_name": "notes", "auth_type": auth_type}


def browser(server):
    """A user's browser that accepts the server's consent page."""
    return lambda url: follow(url, form=server.consent)


def assert_refreshed(server, over: str) -> str:
    """Checks that the last list used a token of a refresh. Returns the current refresh token."""
    listed = server.requests("tools/list")[-1]
    assert (listed.status, listed.bearer != over) == (200, True)
    refreshes = server.requests("token", grant_type="refresh_token")
    assert refreshes and {each.status for each in refreshes} == {200}
    assert listed.bearer in [each.answer["access_token"] for each in refreshes]
    used = [each.form["refresh_token"] for each in refreshes]
    assert len(used) == len(set(used)), "a refresh token is used once"
    return refreshes[-1].answer["refresh_token"]


def assert_revoked(server, refresh_token: str):
    assert [each.status for each in server.requests("revoke")][-1] == 200
    assert not server.refreshes(refresh_token)


# Signing in


def test_the_command_line_signs_in_lists_refreshes_and_revokes(signed, line):
    line.put(entry(signed))
    sign_in(line, signed, "login", "notes")
    assert [each.status for each in signed.requests("register")] == [201]
    assert tools(line) == [TOOL]
    over = signed.requests("tools/list")[-1].bearer
    signed.wait_until_over(over)
    assert tools(line) == [TOOL]
    refresh_token = assert_refreshed(signed, over)
    assert "and revoked at the authorization server" in line.run("remove", "notes").stdout
    assert_revoked(signed, refresh_token)
    assert signed.secrets and not [secret for secret in signed.secrets if secret in line.printed]


@pytest.mark.parametrize("signed", FORGETFUL, indirect=True)
def test_a_server_that_forgot_its_clients_is_registered_at_anew(signed, line):
    """Like a server that stores clients in memory and is restarted."""
    line.put(entry(signed))
    sign_in(line, signed, "login", "notes")
    assert tools(line) == [TOOL]
    signed.restart()
    done = line.run("tools", "notes")
    assert done.returncode == 2 and "a user must sign in" in done.stderr, done.stderr
    sign_in(line, signed, "login", "notes")
    assert tools(line) == [TOOL]
    assert [each.status for each in signed.requests("register")] == [201, 201]


@pytest.mark.parametrize(("signed", "method"), HELD, indirect=["signed"])
def test_an_entrys_client_proves_itself_as_the_server_holds_it(signed, method, line):
    """Metadata lists the methods that a server supports. Only its refusal shows which one this client needs."""
    port = free_port()
    client = signed.register(f"http://127.0.0.1:{port}/oauth/callback", method)
    line.put(entry(signed) | client)
    sign_in(line, signed, "login", "notes", "--port", str(port))
    assert tools(line) == [TOOL]
    signed.end_access_tokens()
    assert tools(line) == [TOOL]
    assert signed.requests("token", grant_type="refresh_token")
    used = signed.requests("token")
    found_out = [each.status for each in used].index(200)
    assert found_out <= 2 and {each.status for each in used[found_out:]} == {200}, "it is remembered"
    assert "and revoked at the authorization server" in line.run("remove", "notes").stdout
    assert_revoked(signed, used[-1].answer["refresh_token"])
    assert not signed.requests("register")
    assert client["client_secret"] not in line.printed


def sign_in(line, server, *command):
    """Runs a command that opens a browser for a sign-in, and acts as the user and the browser."""
    pending = line.start(*command)
    pending.open_redirect_uri(browser(server)(pending.url))
    done = pending.done()
    assert done.returncode == 0, done.stdout + done.stderr


def tools(line) -> list[str]:
    done = line.run("tools", "notes")
    assert done.returncode == 0, done.stderr
    return [shown.split()[0] for shown in done.stdout.splitlines()]


def test_add_signs_in_and_writes_an_entry_that_works(signed, line):
    line.put()
    sign_in(line, signed, "add", signed.url, "--name", "notes")
    [written] = line.entries
    assert (written["mcp_url"], written["auth_type"]) == (signed.url, "oauth2")
    assert tools(line) == [TOOL]


@pytest.mark.parametrize("signed", DEPLOYED, indirect=True)
def test_the_deployed_functions_sign_in_list_run_refresh_and_revoke(signed, backend):
    made = backend(entry(signed))
    assert agent(made)["status"] == "needs_sign_in"
    connect(made, "notes", browser=browser(signed))
    assert (agent(made)["status"], agent(made)["tools"]) == ("available", [TOOL])
    assert count(made) == 1
    over = signed.requests("tools/list")[-1].bearer
    signed.end_access_tokens()
    renewed = agent(made)
    assert renewed["status"] == "available", renewed["status_reason"]
    refresh_token = assert_refreshed(signed, over)
    status, answer = made.http("GET", "/oauth/connections")
    assert (status, [each["status"] for each in answer["connections"]]) == (200, ["connected"])
    assert made.http("DELETE", "/oauth/notes") == (204, None)
    assert_revoked(signed, refresh_token)
    assert agent(made)["status"] == "needs_sign_in"
    assert not [secret for secret in signed.secrets if secret in "\n".join(made.log_lines())]


def agent(backend) -> dict:
    """Returns the only agent of the list, for the user ada."""
    [agent] = backend.agents(as_user("ada"))
    return agent


def count(backend) -> int:
    """Runs a job that calls the tool once. Returns how often the tool has been called so far."""
    event = backend.submit(script({"call": TOOL, "with": {}}, {"say": "{result}"}), ["notes"], user="ada")
    backend.process(event)
    job = backend.job(event)
    assert job["status"] == "COMPLETED", job["error"]
    said = json.loads(job["result"])["content"]
    counted = re.search(r"call (\d+)", said)
    assert counted, said
    return int(counted[1])


# Sessions


def test_a_session_forgotten_before_the_list_is_begun_anew(sessions, line):
    line.put(entry(sessions, "none"))
    sessions.recorder.before["tools/list"] = sessions.forget_sessions
    assert tools(line) == [TOOL]
    assert len(sessions.requests("initialize")) == 2
    assert sessions.requests("tools/list")[-1].status == 200


def test_a_session_forgotten_in_mid_run_is_begun_anew_and_the_call_made_once(sessions, backend):
    made = backend(entry(sessions, "none"))
    before = count(made)
    sessions.recorder.seen.clear()
    sessions.recorder.before["tools/call"] = sessions.forget_sessions
    assert count(made) == before + 1
    assert [each.status for each in sessions.requests("tools/call")] in ([404, 200], [400, 200])
    assert len(sessions.requests("initialize")) == 2
