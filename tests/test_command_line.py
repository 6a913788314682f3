"""The commands of `mcp-agents` except `doctor` and `ask`. None of them may print a credential.

The entries are in a file. Tests for which it makes a difference use Secrets Manager of the local AWS.
"""

import json
import os
import re
import shutil
import socket
import stat
import urllib.error
import urllib.request
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from local.processes import free_port
from tests.lab import (
    AgentCoreServer,
    Answer,
    AuthorizationServer,
    OidcProvider,
    PlainServer,
    ProtectedServer,
    SseServer,
    follow,
)
from tests.lab.loopback import LoopbackServer
from tests.support import CANARY, CommandLine, at_once, wait_for
from tests.support.pseudo_terminal import Terminal

KEY = f"{CANARY}-key"
COMMENTED = """// our servers
[
  // the calculator, /* ask Ada */
  {"mcp_url": "http://127.0.0.1:1/mcp", "agent_name": "Calculator"}, // keep
  {"mcp_url": "http://127.0.0.1:1/mcp", "agent_name": "Old", "auth_type": "none"}
]
"""
COMMENTS = ("// our servers", "// the calculator, /* ask Ada */", "// keep")


@pytest.fixture
def lines(tmp_path, stands):
    """Creates command lines. At the end, no secret of any server may have been printed."""
    made = []

    def make(*arguments):
        made.append(CommandLine(tmp_path / f"home-{len(made)}", *arguments))
        return made[-1]

    yield make
    printed = "".join(line.printed for line in made)
    for line in made:
        line.stop()
    secrets = {CANARY}.union(*(each.secrets for each in stands.all if isinstance(each, AuthorizationServer)))
    assert not [secret for secret in secrets if secret in printed]


@pytest.fixture
def line(lines):
    return lines()


@pytest.fixture
def guarded(stands):
    """Starts an MCP server behind an authorization server: `guarded(rotates=False)` returns both."""

    def make(**steered):
        auth = stands(AuthorizationServer, **steered)
        return auth, stands(ProtectedServer, auth)

    return make


@pytest.fixture
def given(tmp_path):
    """Writes a secret to a file, and returns its path: `given(KEY)`."""

    def put(text: str) -> str:
        path = tmp_path / f"given-{len(list(tmp_path.iterdir()))}"
        path.write_text(f"{text}\n")
        return str(path)

    return put


def oauth(server, **fields) -> dict:
    return {"mcp_url": server.url, "agent_name": "notes", "auth_type": "oauth2"} | fields


def sign_in(line, *arguments, **environment):
    """Runs a command that opens a browser for a sign-in, and acts as that browser."""
    pending = line.start(*arguments, **environment)
    pending.open_redirect_uri(follow(pending.url))
    done = pending.done()
    assert done.returncode == 0, done.stderr
    return pending, done


def tools(line, *arguments, **environment) -> list[str]:
    done = line.run("tools", "notes", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return [shown.split()[0] for shown in done.stdout.splitlines()]


# Help


SAYS = {
    "add": "Adds an entry for a server",
    "ask": "Asks one agent or several",
    "completions": "Prints the completion script",
    "doctor": "Checks every entry of the secret",
    "list": "Lists the agents",
    "login": "Signs in to an agent's server",
    "remove": "Removes an agent's entry",
    "tools": "Shows the tools",
}


def test_every_command_says_what_it_does(line):
    line.where = []
    overview = line.run("--help").stdout
    for command, says in SAYS.items():
        done = line.run(command, "--help")
        assert done.returncode == 0 and done.stdout.startswith(says)
        assert re.search(rf"^  {command} +{says}", overview, re.MULTILINE)


def test_no_option_takes_a_secret(line):
    """Arguments are visible in the process list and in the shell's history."""
    line.where = []
    flags = re.findall(r"--([a-z-]+) <([A-Z=_]+)>", line.run("add", "--help").stdout)
    assert len(flags) > 25
    secret = re.compile("credential|secret|password|private-key$|private-key-file|header$")
    kinds = {flag: kind for flag, kind in flags if secret.search(flag) and flag != "api-key-header"}
    assert {"credentials-file", "client-secret-file", "private-key-file", "extra-header", "secret"} <= set(kinds)
    assert set(kinds.values()) == {"FILE", "NAME=FILE"}


# list


def test_list_shows_agents_without_asking_their_servers(line, guarded):
    auth, server = guarded()
    line.put(
        oauth(server),
        {"mcp_url": f"{server.url}?key={CANARY}", "agent_name": "By Key", "credentials": KEY},
        {"mcp_url": "https://mcp.example.com/mcp"},
    )
    done = line.run("list")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [agent.split() for agent in done.stdout.splitlines()]
    assert shown == [
        ["notes", "oauth2", server.url],
        ["by_key", "api_key", server.url],
        ["external-mcp-agent-3", "none", "https://mcp.example.com/mcp"],
    ]
    done = line.run("list", "--json")
    assert done.returncode == 0
    first = {"agent_id": "notes", "agent_name": "notes", "url": server.url, "auth_type": "oauth2"}
    assert json.loads(done.stdout)[0] == first
    assert [agent["agent_id"] for agent in json.loads(done.stdout)] == [words[0] for words in shown]
    assert auth.seen == server.seen == []


def test_list_reports_skipped_entries(line):
    line.put(
        {"mcp_url": "https://a.example"},
        {"mcp_ulr": "https://b.example"},
        {"mcp_url": "https://c.example", "auth_type": "oauth2", "client_idd": "x"},
    )
    for options in ([], ["--json"]):
        done = line.run("list", *options)
        assert done.returncode == 1
        assert "entry 2, field mcp_ulr: is unknown and ignored: did you mean mcp_url?" in done.stderr
        assert "entry 3, field client_idd" in done.stderr and "did you mean client_id?" in done.stderr
        assert "a.example" in done.stdout and "b.example" not in done.stdout


def test_list_without_entries(line):
    line.put("[]")
    done = line.run("list")
    assert done.returncode == 0 and "mcp-agents add URL" in done.stdout
    assert json.loads(line.run("list", "--json").stdout) == []
    line.put("{}")
    done = line.run("list")
    assert done.returncode == 2 and "array of entries" in done.stderr


def test_list_prints_nothing_that_steers_the_terminal(line):
    line.put({"mcp_url": "https://a.example", "agent_name": "a\u001b[2J\u0007"})
    done = line.run("list")
    assert done.returncode == 0
    assert "\u001b" not in done.stdout and "\u0007" not in done.stdout


# tools


def test_tools_shows_what_is_offered_and_what_is_kept_back(line, stands):
    server = stands(PlainServer, tools=["read_notes", "write_notes", "delete_notes"])
    line.put({"mcp_url": server.url, "agent_name": "notes", "tools": {"allow": ["*_notes"], "deny": ["delete_*"]}})
    assert tools(line) == ["read_notes", "write_notes", "[delete_notes]"]
    assert "The tool read_notes" in line.run("tools", "notes").stdout
    found = json.loads(line.run("tools", "notes", "--json").stdout)
    assert [(tool["tool"]["name"], tool["offered"]) for tool in found] == [
        ("read_notes", True),
        ("write_notes", True),
        ("delete_notes", False),
    ]
    assert found[0]["tool"]["inputSchema"] == {"type": "object"}


def test_tools_of_an_agent_that_is_not_there(line):
    line.put({"mcp_url": "https://a.example", "agent_name": "notes"})
    done = line.run("tools", "nots")
    assert done.returncode == 2 and "known are notes" in done.stderr


def test_tools_of_a_server_that_does_not_work(line, guarded):
    _, server = guarded()
    line.put({"mcp_url": "http://127.0.0.1:1/mcp", "agent_name": "down"}, oauth(server))
    done = line.run("tools", "down")
    assert done.returncode == 2 and "what to do" in done.stderr
    done = line.run("tools", "notes")
    assert done.returncode == 2 and "mcp-agents login" in done.stderr and done.stdout == ""


# login


def test_login_signs_in_for_everybody_who_uses_the_store(line, guarded):
    auth, server = guarded()
    line.put(oauth(server))
    pending, done = sign_in(line, "login", "notes")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/oauth/callback", pending.parameters["redirect_uri"])
    assert pending.parameters["code_challenge_method"] == "S256" and pending.parameters["resource"] == server.url
    assert f"Signed in to notes. The tokens are kept in {line.tokens}" in done.stdout
    assert tools(line) == ["read_notes", "write_notes"]
    assert len(auth.requests("authorize")) == 1


def test_tokens_are_readable_by_their_owner_alone(line, guarded):
    _, server = guarded()
    line.put(oauth(server))
    # The umask must not matter.
    mask = os.umask(0)
    try:
        sign_in(line, "login", "notes")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(line.tokens.stat().st_mode) == 0o600
    assert stat.S_IMODE(line.tokens.parent.stat().st_mode) == 0o700
    for beside in line.tokens.parent.iterdir():
        assert stat.S_IMODE(beside.stat().st_mode) == 0o600, beside


def test_tokens_may_be_kept_elsewhere(line, guarded, tmp_path):
    _, server = guarded()
    line.put(oauth(server))
    elsewhere = tmp_path / "deep" / "elsewhere.json"
    sign_in(line, "login", "notes", "--tokens", elsewhere)
    assert tools(line, "--tokens", elsewhere) and not line.tokens.exists()
    assert line.run("tools", "notes").returncode == 2
    done = sign_in(line, "login", "notes", XDG_CONFIG_HOME=str(tmp_path / "config"))[1]
    assert str(tmp_path / "config" / "mcp-agents" / "tokens.json") in done.stdout


def test_a_users_own_sign_in_is_that_users_alone(line, guarded):
    auth, server = guarded()
    line.put(oauth(server))
    sign_in(line, "login", "notes", "--user", "grace")
    assert tools(line, "--user", "grace")
    for options in ([], ["--user", "ada"]):
        assert "must sign in" in line.run("tools", "notes", *options).stderr
    # A user without their own sign-in uses the sign-in for all users.
    sign_in(line, "login", "notes")
    assert tools(line, "--user", "ada") and tools(line)
    assert len(auth.requests("token", grant_type="authorization_code")) == 2


def test_login_on_a_port_that_was_registered(line, guarded):
    auth, server = guarded(registers=False)
    port = free_port()
    auth.add_client("registered", redirect_uris=[f"http://127.0.0.1:{port}/oauth/callback"])
    line.put(oauth(server, client_id="registered"))
    sign_in(line, "login", "notes", "--port", str(port))
    assert tools(line)
    with pytest.raises(AssertionError, match="not known here"):
        sign_in(line, "login", "notes")


def test_login_on_a_port_that_is_taken(line, guarded):
    auth, server = guarded()
    line.put(oauth(server))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = line.run("login", "notes", "--no-browser", "--port", port)
    assert done.returncode == 2 and port in done.stderr
    assert not auth.requests("register"), "nothing is begun that cannot end"


def addresses_of(host: str) -> set[str]:
    """Returns the addresses that a browser may use for a host; for localhost, both loopback addresses."""
    found = {info[4][0] for info in socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)}
    return found | ({"::1", "127.0.0.1"} if host == "localhost" and has_ipv6() else set())


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_login_with_a_redirect_uri_exactly_as_registered(line, guarded, host):
    """The command listens on every address that a browser may resolve the host name to."""
    if host == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    auth, server = guarded(registers=False)
    port = free_port()
    redirect_uri = f"http://{host}:{port}/oauth/callback"
    auth.add_client("registered", redirect_uris=[redirect_uri])
    line.put(oauth(server, client_id="registered"))
    for address in sorted(addresses_of(host.strip("[]"))):
        pending = line.start("login", "notes", "--redirect-uri", redirect_uri)
        assert pending.parameters["redirect_uri"] == redirect_uri
        back = follow(pending.url)
        shown = f"[{address}]" if ":" in address else address
        pending.open_redirect_uri(back, to=f"http://{shown}:{port}/oauth/callback")
        assert pending.done().returncode == 0


@pytest.mark.parametrize(
    "redirect_uri",
    ["https://agents.example.com/callback", "http://agents.example.com/", "ftp://localhost/", "nonsense"],
)
def test_login_with_a_redirect_uri_that_is_not_here(line, guarded, redirect_uri):
    auth, server = guarded()
    line.put(oauth(server))
    done = line.run("login", "notes", "--no-browser", "--redirect-uri", redirect_uri)
    assert done.returncode == 2 and "--redirect-uri" in done.stderr
    assert auth.seen == []


def test_a_second_login_is_the_same_client_unless_asked_otherwise(line, guarded):
    auth, server = guarded()
    line.put(oauth(server))
    port = str(free_port())
    first = sign_in(line, "login", "notes", "--port", port)[0].parameters["client_id"]
    assert sign_in(line, "login", "notes", "--port", port)[0].parameters["client_id"] == first
    anew = sign_in(line, "login", "notes", "--port", port, "--register-anew")[0].parameters["client_id"]
    assert anew != first and set(auth.clients) == {first, anew}
    assert sign_in(line, "login", "notes", "--port", port)[0].parameters["client_id"] == anew


def test_login_as_a_client_with_a_document(line, guarded):
    auth, server = guarded(accepts_client_documents=True)
    document = "https://agents.example.com/oauth/client-metadata.json"
    line.put(oauth(server))
    pending, _ = sign_in(line, "login", "notes", "--client-metadata-url", document)
    assert pending.parameters["client_id"] == document and not auth.requests("register")
    auth.accepts_client_documents = False
    pending, _ = sign_in(line, "login", "notes", "--client-metadata-url", document)
    assert pending.parameters["client_id"] in auth.clients and len(auth.requests("register")) == 1


def test_login_to_a_server_without_user_sign_in(line):
    line.put({"mcp_url": "http://127.0.0.1:1/mcp", "agent_name": "notes", "credentials": KEY})
    done = line.run("login", "notes", "--no-browser")
    assert done.returncode == 2 and "not signed in to with OAuth" in done.stderr
    done = line.run("login", "other", "--no-browser")
    assert done.returncode == 2 and "known are notes" in done.stderr


def test_only_the_redirect_ends_the_wait(line, guarded):
    _, server = guarded()
    line.put(oauth(server))
    pending = line.start("login", "notes")
    with pytest.raises(urllib.error.HTTPError):
        pending.open_redirect_uri({}, to=pending.parameters["redirect_uri"].replace("/oauth/callback", "/favicon.ico"))
    assert "Nobody waits" in pending.open_redirect_uri({})
    pending.open_redirect_uri(follow(pending.url))
    assert pending.done().returncode == 0


def test_login_at_a_certified_authorization_server(line, stands):
    """Its issuer has a path; it sends `iss`, binds tokens to one resource, and rotates refresh tokens."""
    auth = stands(OidcProvider, access_token_seconds=2)
    server = stands(ProtectedServer, auth)
    line.put(oauth(server))
    pending, _ = sign_in(line, "login", "notes")
    assert pending.url.startswith(f"{auth.issuer}/authorize?")
    assert tools(line) == ["read_notes", "write_notes"]
    [token] = {request.bearer for request in server.requests("tools/list")}
    found = auth.introspect(token)
    assert (found["sub"], found["aud"]) == ("ada", server.url)
    # Twice: the second time with the token of the first refresh. A slow machine may refresh more often.
    for refreshes in (1, 2):
        token = server.requests("tools/list")[-1].bearer
        wait_for(lambda token=token: not auth.introspect(token)["active"])
        assert tools(line)
        assert auth.seen["token_by_grant"]["refresh_token"] >= refreshes
    exchanges = {(request["resource"], request["status"]) for request in auth.seen["token_requests"]}
    assert exchanges == {(server.url, 200)}
    assert token not in line.printed
    assert "taken back" in line.run("remove", "notes").stdout
    assert auth.seen["revocation"] == 1
    assert not auth.introspect(server.requests("tools/list")[-1].bearer)["active"]


# Tokens


def test_an_expired_token_is_refreshed_and_the_new_tokens_are_stored(line, guarded):
    auth, server = guarded(token_with={"expires_in": 0})
    line.put(oauth(server))
    sign_in(line, "login", "notes")
    for refreshes in (1, 2, 3):
        assert tools(line)
        assert len(auth.requests("token", grant_type="refresh_token")) == refreshes
    auth.token_with = {}
    assert tools(line) and tools(line)
    assert len(auth.requests("token", grant_type="refresh_token")) == 4, "a fresh one is used as it is"
    assert auth.reuses == 0


def test_two_at_once_refresh_once(line, guarded):
    auth, server = guarded(token_with={"expires_in": 0})
    line.put(oauth(server))
    sign_in(line, "login", "notes")
    # Slow enough for all processes to want a refresh.
    auth.token_with, auth.delays = {}, {"token": 1.0}
    assert at_once(4, lambda: tools(line)) == [["read_notes", "write_notes"]] * 4
    assert len(auth.requests("token", grant_type="refresh_token")) == 1
    assert auth.reuses == 0


def test_more_scopes_are_asked_for_where_the_server_wants_them(line, guarded):
    auth, server = guarded()
    auth.add_client("machine", KEY)
    server.needs = {"tools/list": "mcp:write"}
    line.put(oauth(server, grant_type="client_credentials", client_id="machine", client_secret=KEY))
    assert tools(line)
    assert len(auth.requests("token")) == 2
    # For a user, the scopes are requested at the next login.
    line.put(oauth(server))
    sign_in(line, "login", "notes")
    done = line.run("tools", "notes")
    assert done.returncode == 2 and "mcp:write" in done.stderr
    pending, _ = sign_in(line, "login", "notes")
    assert "mcp:write" in pending.parameters["scope"].split()
    assert tools(line)


def test_a_login_that_was_broken_off_is_forgotten_in_time(line, guarded):
    _, server = guarded()
    line.put(oauth(server))
    line.start("login", "notes").stop()
    kept = json.loads(line.tokens.read_text())
    [left] = [key for key in kept if key.startswith("state#")]
    kept[left]["expires"] = "2026-01-31T09:30:00Z"
    line.tokens.write_text(json.dumps(kept))
    sign_in(line, "login", "notes")
    assert left not in json.loads(line.tokens.read_text())


def test_a_token_file_that_is_garbled(line, guarded):
    _, server = guarded()
    line.put(oauth(server))
    sign_in(line, "login", "notes")
    line.tokens.write_text('{"grant#')
    for command in (["tools", "notes"], ["login", "notes", "--no-browser"]):
        done = line.run(*command)
        assert done.returncode == 2 and str(line.tokens) in done.stderr


def test_a_folder_that_cannot_be_written(line, guarded):
    auth, server = guarded()
    line.put(oauth(server))
    shutil.rmtree(line.tokens.parent, ignore_errors=True)
    # A file in place of the folder, because root may write to any folder.
    line.tokens.parent.parent.mkdir(parents=True, exist_ok=True)
    line.tokens.parent.write_text("")
    done = line.run("login", "notes", "--no-browser")
    assert done.returncode == 2 and str(line.tokens) in done.stderr
    assert "CONNECTIONS_TABLE" not in done.stderr, "a file is kept here, not a table"


# remove


def test_remove_takes_out_one_entry_and_nothing_else(line):
    line.put(COMMENTED)
    done = line.run("remove", "old")
    assert done.returncode == 0 and "Removed old" in done.stdout
    left = line.file.read_text()
    assert all(comment in left for comment in COMMENTS) and '"Old"' not in left
    assert [agent["agent_id"] for agent in json.loads(line.run("list", "--json").stdout)] == ["calculator"]
    assert line.run("remove", "calculator").returncode == 0
    assert "// our servers" in line.file.read_text()
    assert json.loads(line.run("list", "--json").stdout) == []


def test_remove_of_an_agent_that_is_not_there(line):
    line.put(COMMENTED)
    done = line.run("remove", "newer")
    assert done.returncode == 2 and "known are calculator, old" in done.stderr
    assert line.file.read_text() == COMMENTED


def test_remove_takes_the_sign_in_back(line, guarded):
    auth, server = guarded()
    line.put(oauth(server), {"mcp_url": server.url, "agent_name": "other", "auth_type": "none"})
    sign_in(line, "login", "notes")
    assert tools(line)
    token = server.requests("tools/list")[-1].bearer
    done = line.run("remove", "notes")
    assert done.returncode == 0 and "taken back, and revoked at the authorization server" in done.stdout
    assert len(auth.requests("revoke")) == 1 and not auth.introspect(token)["active"]
    assert not [key for key in json.loads(line.tokens.read_text()) if key.startswith("grant#")]
    assert [entry["agent_name"] for entry in line.entries] == ["other"]


def test_remove_deletes_the_tokens_even_if_revocation_fails(line, guarded):
    auth, server = guarded()
    line.put(oauth(server))
    sign_in(line, "login", "notes")
    auth.fail("revoke", times=100, status=500)
    done = line.run("remove", "notes")
    assert done.returncode == 0
    assert not [key for key in json.loads(line.tokens.read_text()) if key.startswith("grant#")]
    assert "not revoked" in done.stdout + done.stderr, "it is said, since somebody should do it by hand"


def test_remove_says_if_the_server_has_no_revocation(line, guarded):
    auth, server = guarded(metadata={"revocation_endpoint": None})
    line.put(oauth(server))
    sign_in(line, "login", "notes")
    assert "revokes nothing" in line.run("remove", "notes").stdout
    assert not [key for key in json.loads(line.tokens.read_text()) if key.startswith("grant#")]


def test_remove_keeps_a_sign_in_that_another_entry_uses(line, guarded):
    auth, server = guarded()
    line.put(oauth(server), oauth(server, agent_name="again", tools=["read_*"]))
    sign_in(line, "login", "notes")
    assert line.run("tools", "again").returncode == 0, "one server and one client: one sign-in"
    assert "notes uses it too" in line.run("remove", "again").stdout
    assert not auth.requests("revoke")
    assert tools(line)
    assert "taken back" in line.run("remove", "notes").stdout and len(auth.requests("revoke")) == 1


# add


def test_add_an_open_server(line, stands):
    server = stands(PlainServer)
    line.put("[]")
    done = line.run("add", server.url, "--name", "Notes", "--description", "Keeps notes")
    assert done.returncode == 0, done.stderr
    assert "asks for no sign-in" in done.stdout and "read_notes" in done.stdout and "The agent is notes" in done.stdout
    entry = {"mcp_url": server.url, "agent_name": "Notes", "agent_description": "Keeps notes", "auth_type": "none"}
    assert line.entries == [entry]
    assert tools(line) == ["read_notes"]


def test_add_without_a_name_takes_the_hosts(line, stands):
    line.put("[]")
    done = line.run("add", stands(PlainServer).url)
    assert done.returncode == 0 and line.entries[0]["agent_name"] == "127.0.0.1"


def test_add_with_a_choice_of_tools(line, stands):
    server = stands(PlainServer, tools=["read_notes", "write_notes", "delete_notes"])
    line.put("[]")
    done = line.run("add", server.url, "--name", "notes", "--allow-tool", "*_notes", "--deny-tool", "delete_*")
    assert done.returncode == 0 and "delete_notes" not in done.stdout
    assert tools(line) == ["read_notes", "write_notes", "[delete_notes]"]


def test_add_keeps_comments_and_other_entries(line, stands):
    line.put(COMMENTED)
    assert line.run("add", stands(PlainServer).url, "--name", "notes").returncode == 0
    left = line.file.read_text()
    assert all(comment in left for comment in COMMENTS)
    agents = json.loads(line.run("list", "--json").stdout)
    assert [agent["agent_id"] for agent in agents] == ["calculator", "old", "notes"]


def test_add_keeps_who_may_read_the_file(line, stands):
    line.put("[]")
    line.file.chmod(0o600)
    assert line.run("add", stands(PlainServer).url).returncode == 0
    assert stat.S_IMODE(line.file.stat().st_mode) == 0o600


def test_add_a_server_that_takes_a_key(line, stands, given):
    server = stands(PlainServer, wants={"authorization": f"Bearer {KEY}"})
    line.put("[]")
    done = line.run("add", server.url, "--name", "notes")
    assert done.returncode == 2 and "--credentials-file" in done.stderr
    assert "asks for a sign-in" in done.stdout and "want a key" in done.stdout
    assert line.entries == []
    done = line.run("add", server.url, "--name", "notes", "--credentials-file", given(KEY))
    assert done.returncode == 0, done.stdout
    entry = {"mcp_url": server.url, "agent_name": "notes", "auth_type": "api_key", "credentials": KEY}
    assert line.entries == [entry]
    done = line.run("add", server.url, "--name", "again", "--credentials-file", "-", stdin=f"{KEY}\n")
    assert done.returncode == 0 and line.entries[1]["credentials"] == KEY
    assert tools(line) == ["read_notes"]


def test_add_a_server_that_takes_keys_in_a_header_of_its_own(line, stands, given):
    server = stands(PlainServer, wants={"x-api-key": KEY, "x-tenant": f"{CANARY}-tenant"})
    line.put("[]")
    header = ["--extra-header", f"X-Tenant={given(f'{CANARY}-tenant')}"]
    key = ["--credentials-file", given(KEY), "--api-key-header", "X-Api-Key"]
    done = line.run("add", server.url, "--name", "notes", *key, *header)
    assert done.returncode == 0, done.stdout
    [entry] = line.entries
    assert entry["api_key_header"] == "X-Api-Key" and entry["extra_headers"] == {"X-Tenant": f"{CANARY}-tenant"}
    assert tools(line)


def test_add_with_a_wrong_key_writes_nothing_unless_forced(line, stands, given):
    server = stands(PlainServer, wants={"authorization": f"Bearer {KEY}"})
    line.put("[]")
    wrong = ["add", server.url, "--name", "notes", "--credentials-file", given(f"{CANARY}-wrong")]
    done = line.run(*wrong)
    assert done.returncode == 1 and "unauthorized" in done.stdout and "Nothing was written" in done.stdout
    assert line.entries == []
    done = line.run(*wrong, "--force")
    assert done.returncode == 0 and line.entries[0]["credentials"] == f"{CANARY}-wrong"


@pytest.mark.parametrize("fault", ["nobody there", "a web page", "refused address"])
def test_add_a_server_that_does_not_work(line, stands, fault):
    web = stands(AuthorizationServer)
    url = {
        "nobody there": "http://127.0.0.1:1/mcp",
        "a web page": f"{web.base}/",
        "refused address": "http://169.254.169.254/mcp",
    }[fault]
    line.put("[]")
    for known in ([], ["--auth-type", "none", "--transport", "streamable_http"]):
        done = line.run("add", url, "--name", "notes", *known)
        assert done.returncode == 1, done.stderr
        assert "what to do" in done.stdout + done.stderr
        assert line.entries == []
    done = line.run("add", url, "--name", "notes", *known, "--force")
    assert done.returncode == 0 and [entry["mcp_url"] for entry in line.entries] == [url]


def test_add_signs_a_user_in(line, guarded):
    auth, server = guarded()
    line.put("[]")
    pending, done = sign_in(line, "add", server.url, "--name", "notes")
    assert f"authorization server is {auth.issuer}" in done.stdout
    assert "read_notes, write_notes" in done.stdout and "The agent is notes" in done.stdout
    assert line.entries == [oauth(server)]
    assert tools(line) and len(auth.requests("authorize")) == 1


def test_add_leaves_the_sign_in_for_later(line, guarded):
    auth, server = guarded()
    line.put("[]")
    done = line.run("add", server.url, "--name", "notes", "--no-login")
    assert done.returncode == 0 and "mcp-agents login notes" in done.stdout
    assert line.entries == [oauth(server)]
    assert not auth.requests("register") and not auth.requests("authorize")
    sign_in(line, "login", "notes")
    assert tools(line)


def test_add_where_the_user_says_no_writes_nothing(line, guarded):
    auth, server = guarded(redirect_with={"error": "access_denied"})
    line.put("[]")
    pending = line.start("add", server.url, "--name", "notes")
    pending.open_redirect_uri(follow(pending.url))
    done = pending.done()
    assert done.returncode != 0 and "access_denied" in done.stderr
    assert line.entries == []


def test_add_where_no_client_may_register_itself(line, guarded, given):
    auth, server = guarded(registers=False)
    line.put("[]")
    done = line.run("add", server.url, "--name", "notes", "--no-browser")
    assert done.returncode == 2 and "--client-id" in done.stderr and "--client-secret-file" in done.stderr
    assert line.entries == [] and not line.tokens.exists()
    port = free_port()
    auth.add_client("web", KEY, redirect_uris=[f"http://127.0.0.1:{port}/oauth/callback"])
    client = ["--client-id", "web", "--client-secret-file", given(KEY)]
    sign_in(line, "add", server.url, "--name", "notes", *client, "--port", str(port))
    assert line.entries == [oauth(server, client_id="web", client_secret=KEY)]
    assert tools(line)


def test_add_a_client_that_signs_in_for_itself(line, guarded, given):
    auth, server = guarded()
    auth.add_client("machine", KEY)
    line.put("[]")
    client = ["--grant-type", "client_credentials", "--client-id", "machine", "--client-secret-file", given(KEY)]
    done = line.run("add", server.url, "--name", "notes", *client, "--scopes", "mcp:read mcp:write")
    assert done.returncode == 0, done.stdout
    assert line.entries[0]["grant_type"] == "client_credentials"
    assert [request.form["scope"] for request in auth.requests("token")] == ["mcp:read mcp:write"]
    assert tools(line)


def test_add_a_client_that_signs_with_a_key(line, guarded, given):
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    auth, server = guarded()
    auth.add_client("signer", method="private_key_jwt", public_key=public)
    line.put("[]")
    client = ["--grant-type", "client_credentials", "--client-id", "signer", "--private-key-file", given(pem)]
    done = line.run("add", server.url, "--name", "notes", *client)
    assert done.returncode == 0, done.stdout
    assert tools(line)
    assert pem.splitlines()[1] not in line.printed


def test_add_with_endpoints_that_no_metadata_names(line, guarded):
    auth, server = guarded(locations=[])
    server.locations = []
    auth.add_client("web")
    line.put("[]")
    fields = {
        "authorization_url": f"{auth.issuer}/authorize",
        "token_url": f"{auth.issuer}/token",
        "client_id": "web",
        "scopes": "mcp:write",
        "resource": "omit",
    }
    flags = [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", value)]
    pending, _ = sign_in(line, "add", server.url, "--name", "notes", *flags)
    assert line.entries == [oauth(server, **fields)]
    assert pending.parameters["scope"] == "mcp:write" and "resource" not in pending.parameters
    assert not auth.requests("metadata") and tools(line)


def test_add_with_cognito(line, server, world, given):
    pool, guarded = world.pool(), server(require_auth=True)
    line.environment |= {"AWS_ENDPOINT_URL": world.aws.endpoint}
    line.put("[]")
    user = ["--cognito-user-pool-id", pool.id, "--cognito-client-id", pool.client_id]
    user += ["--cognito-username", pool.username, "--cognito-password-file", given(CANARY)]
    done = line.run("add", guarded.url, "--name", "notes", *user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert line.entries == [pool.entry(guarded.url, agent_name="notes", auth_type="cognito")]


@pytest.mark.parametrize("bearer", [None, KEY])
def test_add_finds_out_that_a_server_speaks_sse(line, stands, given, bearer):
    server = stands(SseServer, bearer=bearer)
    line.put("[]")
    key = ["--credentials-file", given(bearer)] if bearer else []
    done = line.run("add", server.url, "--name", "notes", *key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert line.entries[0]["transport"] == "sse"
    assert tools(line) == ["add", "slow"]


def test_add_a_runtime_of_agentcore(line, stands, given):
    auth = stands(AuthorizationServer)
    server = stands(AgentCoreServer, auth)
    line.environment |= {"AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": server.base}
    line.put("[]")
    done = line.run("add", server.ARN, "--name", "notes", "--auth-type", "api_key", "--credentials-file", given(KEY))
    assert done.returncode == 1 and "AgentCore" in done.stdout and line.entries == []
    sign_in(line, "add", server.ARN, "--name", "notes", "--qualifier", "DEFAULT")
    runtime = {"agent_runtime_arn": server.ARN, "qualifier": "DEFAULT"}
    assert line.entries == [runtime | {"agent_name": "notes", "auth_type": "oauth2"}]
    [exchange] = auth.requests("token")
    assert exchange.form["resource"] == server.url and "qualifier=DEFAULT" in server.url
    assert tools(line)


def test_add_checks_at_first_that_it_can_write(line, guarded):
    """A user must not sign in if the entry cannot be written."""
    auth, server = guarded()
    for text in (None, "{}", "[{]"):
        if text:
            line.put(text)
        done = line.run("add", server.url, "--name", "notes", "--no-browser")
        assert done.returncode == 2 and "secret" in done.stderr
        assert server.seen == auth.seen == []


def test_many_adds_at_once_lose_nothing(line, stands):
    server = stands(PlainServer)
    line.put(COMMENTED)
    names = [f"agent-{number}" for number in range(6)]
    left = iter(names)
    done = {}

    def add():
        name = next(left)
        done[name] = line.run("add", server.url, "--name", name)

    at_once(len(names), add)
    written = {agent["agent_id"] for agent in json.loads(line.run("list", "--json").stdout)}
    for name, outcome in done.items():
        # A command that loses against other writers repeatedly fails with that message, and has written nothing.
        assert outcome.returncode == 0 or "changed by another process" in outcome.stderr
        assert (name in written) == (outcome.returncode == 0)
    assert {"calculator", "old"} < written and all(comment in line.file.read_text() for comment in COMMENTS)


# At a terminal


def test_add_asks_for_what_is_missing(line, stands):
    server = stands(PlainServer, wants={"authorization": f"Bearer {KEY}"})
    line.put("[]")
    terminal = Terminal(line, "add", server.url)
    terminal.answer("The key (not shown): ", KEY)
    terminal.answer("The agent's name [127.0.0.1]: ", "Notes")
    code, shown = terminal.ends()
    assert code == 0 and "The agent is notes" in shown
    assert line.entries[0]["credentials"] == KEY and line.entries[0]["agent_name"] == "Notes"


def test_add_asks_for_a_client_where_none_may_register(line, guarded):
    auth, server = guarded(registers=False)
    auth.add_client("web", KEY)
    line.put("[]")
    terminal = Terminal(line, "add", server.url, "--no-login", "--name", "notes")
    terminal.answer("Client id: ", "web")
    terminal.answer("Its secret, empty if it has none (not shown): ", KEY)
    code, shown = terminal.ends()
    assert code == 0, shown
    assert line.entries == [oauth(server, client_id="web", client_secret=KEY)]


def test_add_takes_a_client_without_a_secret(line, guarded):
    auth, server = guarded(registers=False)
    auth.add_client("public")
    line.put("[]")
    terminal = Terminal(line, "add", server.url, "--no-login", "--name", "notes")
    terminal.answer("Client id: ", "public")
    terminal.answer("Its secret, empty if it has none (not shown): ", "")
    code, shown = terminal.ends()
    assert code == 0, shown
    assert line.entries == [oauth(server, client_id="public")]


OPEN = {"initialize", "notifications/initialized", "ping", "tools/list"}


def test_add_asks_whether_a_server_that_is_open_until_called_wants_a_sign_in(line, guarded):
    _, server = guarded()
    server.open = OPEN
    for answer in ("none", "oauth2"):
        line.put("[]")
        terminal = Terminal(line, "add", server.url, "--no-login", "--name", "notes")
        terminal.answer("auth_type, oauth2 or none: ", answer)
        code, shown = terminal.ends()
        assert code == 0, shown
        assert [entry["auth_type"] for entry in line.entries] == [answer]


def test_add_writes_no_auth_type_unasked_for_a_server_that_is_open_until_called(line, guarded):
    auth, server = guarded()
    server.open = OPEN
    line.put("[]")
    done = line.run("add", server.url, "--name", "notes")
    assert done.returncode != 0 and line.entries == []
    assert "--auth-type oauth2" in done.stderr and auth.issuer in done.stderr and "--auth-type none" in done.stderr
    assert line.run("add", server.url, "--name", "notes", "--auth-type", "none").returncode == 0
    assert line.entries[0]["auth_type"] == "none"


def test_add_signs_a_user_in_to_a_server_that_is_open_until_called(line, guarded):
    _, server = guarded()
    server.open = OPEN
    line.put("[]")
    sign_in(line, "add", server.url, "--name", "notes", "--auth-type", "oauth2")
    assert line.entries == [oauth(server)]


def test_add_asks_for_a_client_where_registration_is_announced_and_closed(line, guarded):
    auth, server = guarded(registration_answer=Answer(403, {"error": "access_denied"}))
    port = free_port()
    auth.add_client("web", KEY, redirect_uris=[f"http://127.0.0.1:{port}/oauth/callback"])
    line.put("[]")
    terminal = Terminal(line, "add", server.url, "--no-browser", "--name", "notes", "--port", str(port))
    terminal.shows(f"(with the redirect URI http://127.0.0.1:{port}/oauth/callback, then give its id)")
    terminal.answer("Client id: ", "web")
    terminal.answer("Its secret, empty if it has none (not shown): ", KEY)
    page = terminal.shows(r"(http://127\.0\.0\.1:\d+/authorize\S+)\s")
    query = follow(page)
    urllib.request.urlopen(f"http://127.0.0.1:{port}/oauth/callback?{urlencode(query)}", timeout=10).close()
    code, shown = terminal.ends()
    assert code == 0, shown
    assert line.entries == [oauth(server, client_id="web", client_secret=KEY)]


def test_login_names_a_redirect_uri_that_the_next_run_can_have(line, guarded):
    _, server = guarded(registration_answer=Answer(403, {"error": "access_denied"}))
    line.put(oauth(server))
    done = line.run("login", "notes", "--no-browser")
    uri = re.search(r"with the redirect URI (http://127\.0\.0\.1:\d+/oauth/callback)", done.stderr).group(1)
    assert f"--redirect-uri {uri}" in done.stderr


def test_login_says_after_20_seconds_what_it_waits_for(line, guarded):
    _, server = guarded()
    line.put(oauth(server))
    pending = line.start("login", "notes")
    assert "Still waiting" not in pending.error_text
    wait_for(lambda: "Still waiting" in pending.error_text, 30)
    told = pending.error_text
    assert pending.parameters["redirect_uri"] in told and "127.0.0.1" in told and "Ctrl-C" in told
    pending.open_redirect_uri(follow(pending.url))
    assert pending.done().returncode == 0


# The secret in AWS, and the stack's own store


@pytest.fixture
def in_aws(world, backend, lines):
    """Creates a command line whose entries are in AWS: `in_aws(entries)` returns it and the backend of that secret."""

    def make(entries):
        made = backend(entries)
        return lines(world.aws.environment, made.name), made

    return make


class Meanwhile(LoopbackServer):
    """A proxy before the local AWS. It calls a function before it forwards the first call of an operation."""

    def __init__(self, endpoint: str, operation: str, work):
        super().__init__()
        self.endpoint, self.operation, self.work = endpoint, operation, work
        self._start({})

    def answer(self, request):
        request.endpoint = request.headers["x-amz-target"].split(".")[-1]
        if request.endpoint == self.operation and self.work:
            work, self.work = self.work, None
            work()
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        try:
            answer = urllib.request.urlopen(urllib.request.Request(self.endpoint, request.body, headers))
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            names = ("content-type", "x-amzn-errortype")
            kept = {name: answer.headers[name] for name in names if answer.headers[name]}
            return Answer(answer.status, json.loads(answer.read()), kept)


def stages(world, name) -> dict[str, str]:
    """Returns the version id of each staging label of the secret."""
    versions = world.secrets.describe_secret(SecretId=name)["VersionIdsToStages"]
    return {stage: version for version, labels in versions.items() for stage in labels}


def test_add_and_remove_in_aws(in_aws, stands, world):
    line, made = in_aws(COMMENTED)
    before = stages(world, made.name)
    server = stands(PlainServer)
    done = line.run("add", server.url, "--name", "notes")
    assert done.returncode == 0, done.stderr
    after = stages(world, made.name)
    assert set(after) == {"AWSCURRENT", "AWSPREVIOUS"} and after["AWSPREVIOUS"] == before["AWSCURRENT"]
    text = world.secrets.get_secret_value(SecretId=made.name)["SecretString"]
    assert all(comment in text for comment in COMMENTS) and server.url in text
    [*_, agent] = made.agents()
    assert (agent["agent_id"], agent["status"]) == ("notes", "available")
    assert line.run("remove", "notes").returncode == 0
    text = world.secrets.get_secret_value(SecretId=made.name)["SecretString"]
    assert all(comment in text for comment in COMMENTS) and server.url not in text
    assert set(stages(world, made.name)) == {"AWSCURRENT", "AWSPREVIOUS"}


@pytest.mark.parametrize("operation", ["PutSecretValue", "UpdateSecretVersionStage"])
def test_a_secret_that_was_changed_meanwhile_is_merged_into(in_aws, stands, world, operation):
    line, made = in_aws([])
    theirs = {"mcp_url": "https://theirs.example/mcp", "agent_name": "Theirs"}
    between = stands(Meanwhile, world.aws.endpoint, operation, lambda: made.put_secret([theirs]))
    done = line.run("add", stands(PlainServer).url, "--name", "notes", AWS_ENDPOINT_URL_SECRETS_MANAGER=between.base)
    assert done.returncode == 0, done.stderr
    entries = json.loads(world.secrets.get_secret_value(SecretId=made.name)["SecretString"])
    assert [entry["agent_name"] for entry in entries] == ["Theirs", "notes"]
    assert set(stages(world, made.name)) == {"AWSCURRENT", "AWSPREVIOUS"}
    assert len(between.requests("PutSecretValue")) == 2, "it was tried, refused, and made anew"


def test_a_secret_that_is_not_there(lines, world, stands):
    server = stands(PlainServer)
    line = lines(world.aws.environment, "no/such/secret")
    for command in (["list"], ["tools", "notes"], ["remove", "notes"], ["login", "notes"], ["add", server.url]):
        done = line.run(*command)
        assert done.returncode == 2 and "no/such/secret does not exist: create it" in done.stderr, command
    assert server.seen == []


def test_a_login_into_the_stacks_store_serves_the_deployed_functions(in_aws, guarded, world):
    auth, server = guarded()
    line, made = in_aws([oauth(server)])
    store = {
        "CONNECTIONS_TABLE": world.outputs["ConnectionsTableName"],
        "CONNECTIONS_KEY": world.outputs["ConnectionsKeyArn"],
    }
    [agent] = made.agents()
    assert agent["status"] == "needs_sign_in" and "nobody has signed in yet" in agent["status_reason"]
    done = sign_in(line, "login", "notes", **store)[1]
    assert store["CONNECTIONS_TABLE"] in done.stdout and not line.tokens.exists()
    [agent] = made.agents({"arguments": {"refresh": True}})
    assert (agent["status"], agent["tools"]) == ("available", ["read_notes", "write_notes"])
    ada = {"username": "ada", "claims": {"cognito:groups": ["Viewer"]}}
    [agent] = made.agents({"info": {"fieldName": "listAvailableAgents"}, "arguments": {}, "identity": ada})
    assert agent["status"] == "available"
    items = json.dumps(world.dynamodb.scan(TableName=store["CONNECTIONS_TABLE"])["Items"], default=repr)
    assert items and not [secret for secret in auth.secrets if secret in items]
    # Removing the entry deletes the sign-in for all users.
    done = line.run("remove", "notes", **store)
    assert "taken back" in done.stdout and len(auth.requests("revoke")) == 1


def test_a_users_login_into_the_stacks_store_is_that_users_alone(in_aws, guarded, world):
    _, server = guarded()
    line, made = in_aws([oauth(server)])
    store = {
        "CONNECTIONS_TABLE": world.outputs["ConnectionsTableName"],
        "CONNECTIONS_KEY": world.outputs["ConnectionsKeyArn"],
    }
    sign_in(line, "login", "notes", "--user", "grace", **store)

    def seen_by(user):
        identity = {"username": user, "claims": {"cognito:groups": ["Viewer"]}}
        [agent] = made.agents({"info": {"fieldName": "listAvailableAgents"}, "arguments": {}, "identity": identity})
        return agent["status"]

    assert seen_by("grace") == "available"
    assert seen_by("ada") != "available"
