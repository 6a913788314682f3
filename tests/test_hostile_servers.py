"""Malicious servers, and faults during a sign-in: no grant is lost and no secret is shown.

A request that must be sent once is sent once. A credential for one server goes to no other server. No server can make
the functions show a secret of an entry.
"""

import gzip
import itertools
import json
import subprocess
import threading
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest

from local.processes import TARGET
from tests.lab import AgentCoreServer, Answer, AuthorizationServer, PlainServer, ProtectedServer, follow
from tests.lab.loopback import LoopbackServer
from tests.support import CANARY, as_user, at_once, connect, machine_entry, own_tables, script, user_entry, wait_for
from tests.support.pseudo_terminal import Terminal

KEY = f"{CANARY}/with-a-slash"
READ, WRITE = "read_notes", "write_notes"


@pytest.fixture
def backend(backend, world):
    return lambda *entries, **environment: backend(entries, **own_tables(world) | environment)


def guarded(stands, server=None, **authorization):
    """Starts an MCP server and its authorization server, which has the client of `machine_entry`."""
    a = stands(AuthorizationServer, **authorization)
    a.add_client("machine", "machine-secret")
    return stands(ProtectedServer, a, **server or {}), a


def listed(backend, user: str = "ada") -> dict:
    """Returns the only agent of the list, for a user."""
    [agent] = backend.agents(as_user(user))
    return agent


def listed_cold(backend, user: str = "ada") -> dict:
    """Returns the only agent of the list, from a new environment, which has no record of earlier failures."""
    backend.go_cold()
    return listed(backend, user)


def refreshes(a) -> list:
    return a.requests("token", grant_type="refresh_token")


def sign_in(line, agent="notes"):
    pending = line.start("login", agent)
    pending.open_redirect_uri(follow(pending.url))
    done = pending.done()
    assert done.returncode == 0, done.stderr


# A grant is not lost


class Fronted(AuthorizationServer):
    """An authorization server that refreshes, but behind a proxy that replaces its answer."""

    def __init__(self, **steered):
        self.held: threading.Event | None = None  # there is no answer before it is set
        self.instead: Answer | None = None
        super().__init__(**steered)

    def answer(self, request):
        answer = super().answer(request)
        if request.form.get("grant_type") != "refresh_token":
            return answer
        if self.held:
            self.held.wait(12)
        return self.instead or answer


def test_a_403_beside_a_refresh_does_not_let_another_process_refresh_too(world, line, stands):
    """Three processes: one refreshes, the server names scopes to the second, the third is refused a token."""
    a = stands(Fronted, held=threading.Event())
    server = stands(ProtectedServer, a)
    line.environment |= world.aws.environment | {
        "CONNECTIONS_TABLE": world.outputs["ConnectionsTableName"],
        "CONNECTIONS_KEY": world.outputs["ConnectionsKeyArn"],
    }
    line.put(user_entry(server))
    sign_in(line)
    assert line.run("tools", "notes").returncode == 0

    def asks():
        command = [TARGET / "debug" / "mcp-agents", "tools", *line.where, "notes", "--timeout", "60"]
        return subprocess.Popen(
            command, env=line.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    server.refuse_all()
    first = asks()
    wait_for(lambda: refreshes(a))
    server.refused.clear()
    server.needs = {"initialize": "mcp:admin"}
    second = asks()
    said, _ = second.communicate(timeout=30)
    assert second.returncode != 0 and "the server wants the scopes mcp:admin" in said
    server.needs = {}
    server.refuse_all()
    before = len(server.requests("initialize"))
    third = asks()
    wait_for(lambda: len(server.requests("initialize")) > before)
    a.held.set()
    for process in (first, third):
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert (len(refreshes(a)), a.reuses) == (1, 0)


class Insatiable(ProtectedServer):
    """An MCP server that needs fifty new scopes for each of the next `turns` tool lists."""

    turns = None

    def _missing_scope(self, message, scope):
        if not self.turns or message.get("method") != "tools/list":
            return None
        turn = next(self.turns)
        return " ".join(f"{turn}-{number}-{'x' * 190}" for number in range(50))


def test_ever_new_scopes_are_not_followed_for_ever(backend, stands, world):
    """Each of sixty refusals names ten kilobytes of unknown scopes."""
    a = stands(AuthorizationServer)
    server = stands(Insatiable, a)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    server.turns = itertools.count()
    assert listed(asked)["status"] == "needs_sign_in"
    for agents in at_once(4, lambda: [listed(asked) for _ in range(15)]):
        assert {agent["status"] for agent in agents} == {"needs_sign_in"}
    agent = listed(asked)
    assert next(server.turns) > 60
    assert len(a.requests("token")) == 1, "a user's sign-in is not the server's to ask for"
    assert len(agent["status_reason"]) < 1_000
    items = world.dynamodb.scan(TableName=asked.environment["CONNECTIONS_TABLE"])["Items"]
    [kept] = [item["sealed"]["B"] for item in items if item["PK"]["S"].startswith("grant#")]
    assert len(kept) < 40_000
    _, started = asked.http("POST", "/oauth/start", {"agent_id": "notes"})
    assert len(started["authorization_url"]) < 20_000
    server.turns = None
    server.refuse_all()
    assert listed_cold(asked)["status"] == "available", "what was granted is as it was"
    assert (len(refreshes(a)), a.reuses) == (1, 0)


def test_a_token_whose_life_is_not_told_is_good_until_the_server_refuses_it(line, stands):
    """As GitHub issues them: without expires_in and without a refresh token."""
    server, a = guarded(stands, refresh_tokens="never", token_with={"expires_in": None})
    line.put(user_entry(server))
    sign_in(line)
    # As if it had been issued a day ago.
    kept = json.loads(line.tokens.read_text())
    [key] = [key for key in kept if key.startswith("grant#")]
    grant = json.loads(kept[key]["text"])
    stale = datetime.fromisoformat(grant["stale_from"]) - timedelta(hours=25)
    kept[key]["text"] = json.dumps(grant | {"stale_from": stale.isoformat()})
    line.tokens.write_text(json.dumps(kept))
    done = line.run("tools", "notes")
    assert done.returncode == 0, done.stderr
    a.revoke_all()
    done = line.run("tools", "notes")
    assert done.returncode != 0 and "the server no longer takes the access token" in done.stderr
    assert len(a.requests("token")) == 1


def test_a_grant_with_fewer_scopes_than_requested_is_accepted(backend, stands):
    server, a = guarded(stands, token_with={"scope": "mcp:read"})
    asked = backend(user_entry(server, scopes="mcp:read offline_access"))
    connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    server.refuse_all()
    assert listed(asked)["status"] == "available", "refreshed, it is granted less again"
    assert [len(a.requests("token", grant_type=kind)) for kind in ("authorization_code", "refresh_token")] == [1, 1]


def test_scopes_that_a_client_cannot_have_do_not_stand_in_its_way_later(backend, stands):
    server, a = guarded(stands)
    asked = backend(machine_entry(server, scopes="mcp:read"))
    assert listed(asked)["status"] == "available"
    server.needs = {"tools/list": "mcp:admin"}
    agent = listed(asked)
    assert agent["status"] == "stale" and "invalid_scope" in agent["status_reason"]
    server.needs = {}
    server.refuse_all()
    assert listed_cold(asked)["status"] == "available"
    scopes = [request.form["scope"] for request in a.requests("token")]
    assert scopes == ["mcp:read", "mcp:read mcp:admin", "mcp:read"]


@pytest.mark.parametrize("entry", [user_entry, machine_entry])
def test_temporarily_wrong_metadata_ends_no_sign_in(backend, stands, entry):
    server, a = guarded(stands)
    other = stands(AuthorizationServer)
    asked = backend(entry(server))
    if entry is user_entry:
        connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    server.metadata = {"authorization_servers": [other.issuer]}
    server.refuse_all()
    agent = listed(asked)
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert f"the server now names the authorization server {other.issuer}" in agent["status_reason"]
    assert listed_cold(asked)["status"] == "needs_sign_in"
    assert {request.endpoint for request in other.seen} == {"metadata"}, "it gets no secret and no token"
    before = len(a.requests("token"))
    assert before == 1
    server.metadata = {}
    assert listed_cold(asked)["status"] == "available"
    assert len(a.requests("token")) == 2 and not a.requests("token", grant_type="authorization_code")[1:]


PROXIES = [Answer(502, "<h1>Bad Gateway</h1>"), Answer(504, "<h1>Timeout</h1>"), Answer(502, {"error": "Bad Gateway"})]


@pytest.mark.parametrize("said", PROXIES, ids=["502", "504", "502-json"])
def test_a_refresh_that_a_proxy_answered_is_not_sent_again(backend, stands, said):
    """It is unknown whether the refresh token has been used, and a second use would revoke the whole grant."""
    a = stands(Fronted)
    server = stands(ProtectedServer, a)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    server.refuse_all()
    a.instead = said
    first, second = listed(asked), listed_cold(asked)
    assert (len(refreshes(a)), a.reuses) == (1, 0)
    for agent in (first, second):
        assert agent["status"] == "needs_sign_in" and "cut off" in agent["status_reason"]


def test_a_header_of_an_entry_may_change_and_nobody_signs_in_anew(backend, stands):
    server, a = guarded(stands)
    asked = backend(user_entry(server, extra_headers={"X-Api-Key": "old-value"}))
    connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    asked.put_secret([user_entry(server, extra_headers={"X-Api-Key": "new-value"}, grant_type="authorization_code")])
    assert listed_cold(asked)["status"] == "available"
    assert server.requests("tools/list")[-1].headers["x-api-key"] == "new-value"
    assert len(a.requests("token")) == 1


class Between(LoopbackServer):
    """A proxy before the local AWS. `before["DeleteItem"]()` is called before the first such call is forwarded."""

    def __init__(self, endpoint: str):
        super().__init__()
        self.endpoint = endpoint
        self.before = {}
        self._start({})

    def answer(self, request):
        operation = request.headers.get("x-amz-target", "").split(".")[-1]
        if meanwhile := self.before.pop(operation, None):
            meanwhile()
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        try:
            answer = urllib.request.urlopen(urllib.request.Request(self.endpoint, request.body, headers))
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Answer(answer.status, answer.read().decode(), {"content-type": answer.headers["content-type"]})


def test_a_sign_in_that_is_refreshed_while_it_is_taken_back_is_revoked_as_it_is_then(backend, stands, world):
    server, a = guarded(stands)
    between = stands(Between, world.aws.endpoint)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    asked.go_cold()
    asked.environment["AWS_ENDPOINT_URL_DYNAMODB"] = between.base
    server.refuse_all()
    asked.function("ConnectionsApiFunctionArn")
    asked.environment["AWS_ENDPOINT_URL_DYNAMODB"] = world.proxy.url + "/meanwhile"
    meanwhile = []
    between.before["DeleteItem"] = lambda: meanwhile.append(listed(asked)["status"])
    assert asked.http("DELETE", "/oauth/notes")[0] == 204
    assert meanwhile == ["available"]
    [refreshed] = refreshes(a)
    [revoked] = a.requests("revoke")
    assert revoked.form["token"].startswith("refresh-")
    assert revoked.form["token"] != refreshed.form["refresh_token"], "the one that is good now"
    assert listed(asked)["status"] == "needs_sign_in"


def test_scopes_that_two_processes_are_told_of_at_once_are_told_by_both(backend, stands, world):
    server, _ = guarded(stands)
    between = stands(Between, world.aws.endpoint)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    server.needs = {"tools/list": "mcp:write"}
    meanwhile = []
    between.before["PutItem"] = lambda: meanwhile.append(listed(asked))
    late = backend(user_entry(server), **asked.environment | {"AWS_ENDPOINT_URL_DYNAMODB": between.base})
    for agent in (listed(late), *meanwhile):
        assert agent["status"] == "needs_sign_in" and "mcp:write" in agent["status_reason"]
    assert meanwhile


# What is for one server goes to no other


def test_a_sign_in_is_for_the_entry_that_it_was_started_for(backend, stands):
    """The agent's id is its position in the secret. An earlier entry is removed while a user signs in."""
    a = stands(AuthorizationServer)
    meant, other = stands(ProtectedServer, a), stands(ProtectedServer, a)
    entries = [{"mcp_url": server.url, "auth_type": "oauth2"} for server in (meant, other)]
    asked = backend(*entries)
    agent_id = asked.agents()[0]["agent_id"]
    _, started = asked.http("POST", "/oauth/start", {"agent_id": agent_id})
    back = follow(started["authorization_url"])
    assert asked.http("GET", "/oauth/callback", user=None, query=back)[0] == 200
    asked.put_secret(entries[1:])
    asked.go_cold()
    status, error = asked.http("POST", "/oauth/complete", {"state": started["state"]})
    assert (status, error["error"]) == (400, "state_mismatch")
    [agent] = asked.agents(as_user("ada"))
    assert (agent["agent_id"], agent["status"]) == (agent_id, "needs_sign_in")
    assert not a.requests("token")
    assert not any(request.bearer for request in other.seen)
    connect(asked, agent_id)
    assert [agent["status"] for agent in asked.agents(as_user("ada"))] == ["available"]


def test_only_an_administrator_replaces_the_token_that_everybody_uses(backend, stands):
    server, a = guarded(stands)
    asked = backend(machine_entry(server))
    assert listed(asked)["status"] == "available"
    [token] = {request.bearer for request in server.requests("tools/list")}
    for group in ("Viewer", "Author"):
        status, error = asked.http("POST", "/oauth/regenerate", {"agent_id": "notes"}, group=group)
        assert (status, error["error"]) == (403, "forbidden") and "Admin" in error["message"]
    assert len(a.requests("token")) == 1 and not a.requests("revoke")
    assert a.introspect(token)["active"]
    status, done = asked.http("POST", "/oauth/regenerate", {"agent_id": "notes"}, group="Admin")
    assert (status, done["status"]) == (200, "connected")
    assert len(a.requests("token")) == 2


# Secrets are not shown


def everything(backend, *answers) -> str:
    """Returns all output of the functions: answers, logs, and items of the catalog table."""
    return json.dumps(answers) + "\n".join(backend.log_lines()) + "\n".join(snapshots(backend))


def snapshots(backend) -> list[str]:
    """Returns the stored tool lists, decompressed."""
    items = backend.world.dynamodb.scan(TableName=backend.environment["CATALOG_TABLE"])["Items"]
    packed = [value["B"] for item in items for value in item.values() if "B" in value and "sealed" not in item]
    return [gzip.decompress(bytes).decode() for bytes in packed if bytes[:2] == b"\x1f\x8b"]


def forms(secret: str) -> set[str]:
    """Returns a secret as it is and as it may be encoded in a URL."""
    return {secret, quote(secret), quote(secret, safe="")}


def shown(secret: str, text: str) -> list[str]:
    return [form for form in forms(secret) if form in text]


EVIL = "https://evil.example.com/"
SHOWN = 300  # number of characters of a server's text that are shown


# The second name is cut before the value's last character.
@pytest.mark.parametrize("padding", ["", "x" * (SHOWN + 1 - len(EVIL) - len(CANARY))], ids=["short", "cut"])
def test_servers_that_name_themselves_after_a_header_are_not_repeated(backend, stands, line, padding):
    """One server names another resource; the other's authorization server names another issuer."""
    name = f"{EVIL}{padding}{CANARY}"
    one, _ = guarded(stands, server={"metadata": {"resource": name}})
    other, _ = guarded(stands, metadata={"issuer": name})
    extra = {"extra_headers": {"X-Api-Key": CANARY}}
    machines = [machine_entry(one, **extra, agent_name="one"), machine_entry(other, **extra, agent_name="other")]
    people = [
        user_entry(one, **extra, agent_name="one's people"),
        user_entry(other, **extra, agent_name="other's people"),
    ]
    asked = backend(*machines, *people, LOG_LEVEL="TRACE")
    agents = asked.agents(as_user("ada"))
    answers = [agents, asked.http("GET", "/oauth/connections")]
    for server, agent in zip((one, other), agents[:2], strict=True):
        assert any(request.headers.get("x-api-key") == CANARY for request in server.seen), "it knows the value"
        assert f"{EVIL}{padding[:9]}" in agent["status_reason"], "what it says is told"
        job = asked.submit(script({"say": "never"}), [agent["agent_id"]])
        asked.process(job)
        answers.append(asked.job(job))
    for agent in agents[2:]:
        status, refused = asked.http("POST", "/oauth/start", {"agent_id": agent["agent_id"]})
        assert status >= 400 and EVIL in refused["message"]
        answers.append(refused)
    line.put(*machines, *people)
    ids = [agent["agent_id"] for agent in agents]
    commands = [
        ["doctor"],
        ["doctor", "--json"],
        *(["tools", id] for id in ids[:2]),
        *(["login", id] for id in ids[2:]),
    ]
    for command in commands:
        before = line.printed
        assert line.run(*command).returncode != 0
        assert EVIL in line.printed[len(before) :]
    out = everything(asked, answers) + line.printed
    assert CANARY[:-1] not in out, out[out.find(CANARY[:-1]) - 200 :][:300]


@pytest.mark.parametrize("length", [0, SHOWN + 1 - len(CANARY)], ids=["short", "cut"])
def test_what_servers_say_of_a_header_in_scopes_and_descriptions_is_not_repeated(backend, stands, line, length):
    # No scope is longer than two hundred characters.
    said = ("x" * 150 + " " + "y" * (length - 152) + "!" if length else "") + CANARY
    wanting = {"needs": {"tools/list": said}, "never_enough": True}
    one, _ = guarded(stands, server=wanting)
    other, _ = guarded(stands, server=wanting)
    third, refusing = guarded(stands)
    refusing.token_error = {"error": "invalid_scope", "error_description": said}
    extra = {"extra_headers": {"X-Api-Key": CANARY}}
    entries = [machine_entry(one, **extra), user_entry(other, **extra, agent_name="people")]
    entries.append(machine_entry(third, **extra, agent_name="refused"))
    asked = backend(*entries, LOG_LEVEL="TRACE")
    connect(asked, "people")
    agents = asked.agents(as_user("ada"))
    assert [agent["status"] for agent in agents] == ["unavailable", "needs_sign_in", "unavailable"]
    told = said[:9] if length else "[credential]"
    assert all(told in agent["status_reason"] for agent in agents[1:]), "what they say is told"
    line.put(*entries)
    line.doctor()
    assert told in line.printed
    out = everything(asked, agents, asked.http("GET", "/oauth/connections")) + line.printed
    assert CANARY[:-1] not in out, out[out.find(CANARY[:-1]) - 200 :][:300]


def test_an_authorization_server_that_lies_at_a_headers_value_is_not_repeated(backend, stands, line):
    """The MCP server names an issuer whose path contains the value, and users sign in there."""
    a = stands(AuthorizationServer, path=f"/{CANARY}")
    a.add_client("machine", "machine-secret")
    server = stands(ProtectedServer, a)
    extra = {"extra_headers": {"X-Api-Key": CANARY}}
    entries = [user_entry(server, **extra), machine_entry(server, **extra, agent_name="machine")]
    asked = backend(*entries, LOG_LEVEL="TRACE")
    connect(asked, "notes")
    agents = asked.agents(as_user("ada"))
    assert [agent["status"] for agent in agents] == ["available"] * 2
    status, connections = asked.http("GET", "/oauth/connections")
    assert [each["status"] for each in connections["connections"]] == ["connected"] * 2
    line.put(*entries)
    assert all(report["steps"] for report in line.doctor())
    out = everything(asked, agents, connections) + line.printed
    assert CANARY not in out, out[out.find(CANARY) - 200 :][:300]


class Escaping(PlainServer):
    """Quotes the header that lets people in, with its characters escaped as JSON lets them be: once each way."""

    ways = {
        "plain": lambda text: text,
        "solidus": lambda text: text.replace("/", "\\/"),
        "coded": lambda text: text.replace("/", "\\u002f"),
        "all": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    }

    def answer(self, request):
        answer = super().answer(request)
        if request.endpoint not in ("tools/list", "tools/call") or answer.status != 200:
            return answer
        for tool in answer.body["result"].get("tools", []):
            tool["description"] = f"quotes <{tool['name']}>"
            tool["inputSchema"]["properties"] = {"at": {"description": f"<{tool['name']}>"}}
        if request.endpoint == "tools/call":
            name = request.json["params"]["name"]
            answer.body["result"]["content"] = [{"type": "text", "text": f"quotes <{name}>"}]
        text = json.dumps(answer.body)
        for name, escape in self.ways.items():
            text = text.replace(f"<{name}>", f"<{escape(request.headers['authorization'])}>")
        return Answer(200, text, {"content-type": "application/json"})


def test_a_key_in_a_servers_address_is_kept_sealed(backend, stands, world):
    a = stands(AuthorizationServer)
    server = stands(
        ProtectedServer,
        a,
        path=f"/mcp?key={CANARY}",
        locations=["/.well-known/oauth-protected-resource/mcp"],
        checks_audience=False,
    )
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    items = world.dynamodb.scan(TableName=asked.environment["CONNECTIONS_TABLE"])["Items"]
    assert {item["PK"]["S"].split("#")[0] for item in items} >= {"grant"}
    assert not shown(CANARY, repr(items)) and not shown(CANARY, "\n".join(asked.log_lines()))
    assert not [request for request in a.seen if CANARY in request.path or CANARY in request.body.decode()]


def test_a_key_that_a_server_escapes_is_known_all_the_same(backend, stands, line):
    server = stands(Escaping, {"authorization": f"Bearer {KEY}"}, tools=list(Escaping.ways))
    entry = {"mcp_url": server.url, "auth_type": "api_key", "credentials": KEY, "agent_name": "notes"}
    asked = backend(entry, LOG_LEVEL="TRACE")
    assert listed(asked)["tools"] == list(Escaping.ways)
    calls = {"calls": [{"call": name, "with": {}} for name in Escaping.ways]}
    event = asked.submit(script(calls, {"say": "{results}"}), ["notes"])
    asked.process(event)
    job = asked.job(event)
    assert job["status"] == "COMPLETED", job["error"]
    assert job["result"].count("quotes <Bearer [credential]>") == len(Escaping.ways)
    line.put(entry)
    done = line.run("tools", "notes", "--json")
    assert done.stdout.count("quotes <Bearer [credential]>") == len(Escaping.ways)
    assert snapshots(asked), "there is something to look into"
    # Answers and records escape the escape again.
    out = (everything(asked, job) + line.printed).replace("\\", "")
    assert not shown(KEY, out)


# Forms of servers' answers, and fields of entries


class Negotiating(ProtectedServer):
    """Offers another scheme too, in a separate header line before its own."""

    def _header(self, right, wrong):
        return {"WWW-Authenticate": "Negotiate"} | super()._header(right, wrong)


def test_each_scheme_may_be_offered_in_a_line_of_its_own(backend, stands):
    """Only the challenge names the metadata's URL, and only the 403 names the scopes."""
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    elsewhere = ["/elsewhere/.well-known/oauth-protected-resource"]
    needs = {"tools/list": "mcp:write"}
    server = stands(Negotiating, a, challenge_header="www-authenticate", locations=elsewhere, needs=needs)
    assert listed(backend(machine_entry(server)))["status"] == "available"
    assert [request.form.get("scope") for request in a.requests("token")] == [None, "mcp:read mcp:write"]


def endpoints(a, **fields) -> dict:
    return {"authorization_url": f"{a.issuer}/authorize", "token_url": f"{a.issuer}/token"} | fields


@pytest.mark.parametrize("entry", [user_entry, machine_entry])
def test_where_no_metadata_says_how_a_secret_is_sent_both_ways_are_tried(backend, stands, entry):
    server, a = guarded(stands, locations=[])
    server.locations = []
    a.add_client("posting", "posting-secret", "client_secret_post")
    proof = {"client_id": "posting", "client_secret": "posting-secret"}
    asked = backend(entry(server, **endpoints(a), **proof))
    if entry is user_entry:
        connect(asked, "notes")
    assert listed(asked)["status"] == "available"
    in_header, in_form = a.requests("token")
    assert "authorization" in in_header.headers and "client_secret" not in in_header.form
    assert "authorization" not in in_form.headers and in_form.form["client_secret"] == "posting-secret"
    server.refuse_all()
    assert listed(asked)["status"] == "available", "so it is renewed"
    assert not a.requests("metadata") and a.reuses == 0


def test_a_wrong_secret_is_tried_both_ways_and_no_more(backend, stands):
    server, a = guarded(stands, locations=[])
    server.locations = []
    agent = listed(backend(machine_entry(server, **endpoints(a), client_secret=CANARY)))
    assert agent["status"] == "unavailable" and "invalid_client" in agent["status_reason"]
    assert CANARY not in agent["status_reason"]
    assert len(a.requests("token")) == 2


def test_endpoints_of_an_entry_go_before_those_of_its_issuers_metadata_which_says_the_rest(backend, stands):
    wrong = dict.fromkeys(("authorization_endpoint", "token_endpoint"), "http://127.0.0.1:1/nobody")
    posted = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    server, a = guarded(stands, metadata=wrong | posted)
    a.add_client("posting", "posting-secret", "client_secret_post")
    server.locations = []
    named = endpoints(a, issuer=a.issuer)
    proof = {"client_id": "posting", "client_secret": "posting-secret"}
    asked = backend(user_entry(server, **named), machine_entry(server, **named, **proof, agent_name="machine"))
    connect(asked, "notes")
    assert [agent["status"] for agent in asked.agents(as_user("ada"))] == ["available"] * 2
    assert len(a.requests("register")) == 1
    for request in a.requests("token"):
        assert "client_secret" in request.form and "authorization" not in request.headers
    assert len(a.requests("token")) == 2
    assert asked.http("DELETE", "/oauth/notes")[0] == 204
    assert len(a.requests("revoke")) == 1


@pytest.mark.parametrize("auth_type", ["api_key", None])
def test_a_key_for_agentcore_is_refused_also_where_the_url_is_written_out(backend, stands, auth_type):
    arn = quote(AgentCoreServer.ARN, safe="")
    url = f"https://bedrock-agentcore.us-east-1.amazonaws.com/runtimes/{arn}/invocations?qualifier=DEFAULT"
    bad = {"mcp_url": url, "credentials": CANARY} | ({"auth_type": auth_type} if auth_type else {})
    mixed = backend(bad, {"mcp_url": stands(PlainServer).url, "agent_name": "good"})
    assert {agent["agent_id"]: agent["status"] for agent in mixed.agents()} == {"good": "available"}
    [skipped] = [event["diagnostic"] for event in mixed.log_events("External MCP: entry skipped")]
    assert "api_key does not work with AgentCore, which takes OAuth tokens alone" in skipped


# At a terminal


def test_add_asks_for_what_cognito_needs(line, server, world):
    pool, target = world.pool(), server(require_auth=True)
    line.environment |= {"AWS_ENDPOINT_URL": world.aws.endpoint}
    line.put("[]")
    terminal = Terminal(line, "add", target.url, "--name", "notes", "--auth-type", "cognito")
    terminal.answer("The user pool's id: ", pool.id)
    terminal.answer("The app client's id: ", pool.client_id)
    terminal.answer("The service user's name: ", pool.username)
    terminal.answer("The password (not shown): ", CANARY)
    code, said = terminal.ends()
    assert code == 0, said
    assert line.entries == [pool.entry(target.url, agent_name="notes", auth_type="cognito")]
    assert CANARY not in line.printed
