"""Entries of every kind, deployed: how a server is signed in to, and what is said when it cannot be."""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.lab import (
    AgentCoreServer,
    Answer,
    AuthorizationServer,
    CognitoOAuth,
    OidcProvider,
    PlainServer,
    ProtectedServer,
    SseServer,
    follow,
)
from tests.lab.jwt import unverified_claims
from tests.support import CANARY, as_user, connect, machine, own_tables, script, users, wait_for

KEY = "k3y-canary"
EVIL = "https://evil.example.com"
READ, WRITE = "read_notes", "write_notes"


@pytest.fixture
def backend(backend, world):
    return lambda *entries, **environment: backend(entries, **own_tables(world) | environment)


def guarded(stands, server=None, **authorization):
    """A server and its authorization server, which knows the client of `machine`."""
    a = stands(AuthorizationServer, **authorization)
    a.add_client("machine", "machine-secret")
    return stands(ProtectedServer, a, **server or {}), a


def listed(backend, user: str | None = None, **arguments) -> dict:
    """The one agent, as it is for a user."""
    [agent] = backend.agents(as_user(user, **arguments) if user else {"arguments": arguments})
    return agent


def listed_cold(backend, user: str | None = None) -> dict:
    """The one agent, as an environment sees it that knows nothing of earlier failures."""
    backend.go_cold()
    return listed(backend, user)


def ran(backend, *steps, user: str = "ada", agent: str = "notes") -> dict:
    """The item of a job that a user had run."""
    event = backend.submit(script(*steps), [agent], user=user)
    backend.process(event)
    return backend.job(event)


def called(backend, tool: str = READ, user: str = "ada", agent: str = "notes"):
    """What a tool said to a user's job; a text if it was no JSON."""
    job = ran(backend, {"call": tool, "with": {"n": 1}}, {"say": "{result}"}, user=user, agent=agent)
    assert job["status"] == "COMPLETED", job["error"]
    said = json.loads(job["result"])["content"]
    return json.loads(said) if said.startswith("{") else said


def statuses(agents) -> dict[str, str]:
    return {agent["agent_id"]: agent["status"] for agent in agents}


def skipped(backend) -> list[str]:
    """Why entries fell out, as the log has it."""
    return [event["diagnostic"] for event in backend.log_events("External MCP: entry skipped")]


def scopes_of(url: str) -> set[str]:
    """What an authorization URL asks for."""
    return set(dict(parse_qsl(urlsplit(url).query)).get("scope", "").split())


# API keys


KEYS = [
    ({}, "authorization", f"Bearer {KEY}"),
    ({"auth_type": "token"}, "authorization", f"Bearer {KEY}"),
    ({"auth_type": None}, "authorization", f"Bearer {KEY}"),
    ({"authorization_scheme": "Token"}, "authorization", f"Token {KEY}"),
    ({"authorization_scheme": "none"}, "authorization", KEY),
    ({"api_key_header": "X-Api-Key"}, "x-api-key", KEY),
    ({"api_key_header": "X-Api-Key", "authorization_scheme": "Token"}, "x-api-key", f"Token {KEY}"),
    ({"credentials": f"Bearer {KEY}"}, "authorization", f"Bearer {KEY}"),
    ({"credentials": f"Token {KEY}", "authorization_scheme": "Token"}, "authorization", f"Token {KEY}"),
    ({"credentials": f"Token {KEY}"}, "authorization", f"Token {KEY}"),
]


def test_a_key_is_sent_as_the_entry_says(backend, stands):
    servers = [stands(PlainServer, {header: value}) for _, header, value in KEYS]
    key = {"auth_type": "api_key", "credentials": KEY}
    agents = backend(*[{"mcp_url": each.url} | key | fields for each, (fields, *_) in zip(servers, KEYS)]).agents()
    for agent, server, (fields, header, _) in zip(agents, servers, KEYS, strict=True):
        assert (agent["status"], agent["tools"]) == ("available", [READ]), fields
        other = ({"authorization", "x-api-key"} - {header}).pop()
        assert not any(request.headers.get(other) for request in server.seen), fields


def test_a_wrong_key_is_unavailable_with_the_servers_answer_and_not_repeated(backend, stands):
    server = stands(PlainServer, {"authorization": "Bearer another"})
    agent = listed(backend({"mcp_url": server.url, "auth_type": "api_key", "credentials": KEY}))
    assert (agent["status"], agent["tools"]) == ("unavailable", [])
    assert agent["status_reason"] == "the server answered 401: it does not take this sign-in"
    assert len(server.seen) == 1, "there is no other key to try"


def test_extra_headers_go_with_every_request_of_any_sign_in(backend, stands, world):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    servers = {
        "none": stands(PlainServer, {"x-tenant": KEY}),
        "api_key": stands(PlainServer, {"x-tenant": KEY, "authorization": f"Bearer {KEY}"}),
        "cognito": stands(PlainServer, {"x-tenant": KEY}),
        "oauth2": stands(ProtectedServer, a),
    }
    entries = {
        "none": {"mcp_url": servers["none"].url, "auth_type": "none"},
        "api_key": {"mcp_url": servers["api_key"].url, "auth_type": "api_key", "credentials": KEY},
        "cognito": world.pool().entry(servers["cognito"].url, auth_type="cognito"),
        "oauth2": machine(servers["oauth2"]),
    }
    extra = {"extra_headers": {"X-Tenant": KEY}}
    agents = backend(*[entry | extra | {"agent_name": name} for name, entry in entries.items()]).agents()
    assert statuses(agents) == dict.fromkeys(servers, "available")
    for name, server in servers.items():
        methods = [request for request in server.seen if request.endpoint in ("initialize", "tools/list", "ping")]
        assert len(methods) >= 2 and all(request.headers.get("x-tenant") == KEY for request in methods), name
    assert not any(request.headers.get("x-tenant") for request in a.seen), "they are for the server alone"


def test_extra_headers_never_say_who_asks_or_what_mcp_says(backend, stands):
    url = stands(PlainServer).url
    names = ["Authorization", "host", "Mcp-Session-Id", "MCP-Protocol-Version"]
    bad = [{"mcp_url": url, "auth_type": "none", "extra_headers": {name: CANARY}} for name in names]
    mixed = backend(*bad, {"mcp_url": url, "agent_name": "good"})
    assert statuses(mixed.agents()) == {"good": "available"}
    for position, name in enumerate(names, 1):
        problem = f"entry {position}, field extra_headers.{name}: is a header that is not for entries to set"
        assert problem in skipped(mixed)
    assert CANARY not in "\n".join(mixed.log_lines())


# What an entry may say


BAD = [
    (
        {"auth_type": "oauth2", "client_secrett": CANARY},
        "field client_secrett: is not a field of auth_type oauth2: did you mean client_secret?",
    ),
    ({"auth_type": "oauth2", "cognito_password": CANARY}, "field cognito_password: does not belong to auth_type oauth2 but to cognito"),
    ({"auth_type": "api_key", "credential": CANARY}, "field credential: is not a field of auth_type api_key: did you mean credentials?"),
    ({"auth_type": "none", "credentials": CANARY}, "field credentials: does not belong to auth_type none but to api_key"),
    ({"auth_type": "cognito", "transprt": "sse"}, "field transprt: is not a field of auth_type cognito: did you mean transport?"),
    ({"auth_type": "oauth", "client_secret": CANARY}, "field auth_type: is unknown: use none, cognito, api_key or oauth2"),
    ({"auth_type": "oauth2", "transport": "websocket"}, "field transport: websocket is not supported yet"),
    ({"auth_type": "oauth2", "resource": CANARY}, "field resource: is neither a URL"),
    ({"auth_type": "oauth2", "issuer": "http://as.example.com"}, "field issuer: is not an https URL"),
    ({"auth_type": "oauth2", "grant_type": "client_credentials", "client_id": "x"}, "field client_secret: is missing"),
    ({"auth_type": "none", "tools": {"alow": []}}, "field tools: is neither a list of names nor"),
    ({"auth_type": "none", "extra_headers": CANARY}, "field extra_headers: is not an object"),
]


def test_what_does_not_belong_is_refused_by_name_and_only_that_entry_falls_out(backend, stands):
    url = stands(PlainServer).url
    mixed = backend(*[{"mcp_url": url} | bad for bad, _ in BAD], {"mcp_url": url, "agent_name": "good"})
    assert statuses(mixed.agents()) == {"good": "available"}
    for position, (_, problem) in enumerate(BAD, 1):
        assert any(each.startswith(f"entry {position}, {problem}") for each in skipped(mixed)), problem
    assert CANARY not in "\n".join(mixed.log_lines())


# Clients that sign in for themselves


BY_METADATA = [
    (["client_secret_basic"], "client_secret_basic"),
    (["client_secret_post"], "client_secret_post"),
    (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
    (None, "client_secret_basic"),
]


def test_a_clients_secret_goes_as_the_metadata_says(backend, stands):
    secret = "s/e c:ret%"
    servers = []
    for announced, method in BY_METADATA:
        a = stands(AuthorizationServer, metadata={"token_endpoint_auth_methods_supported": announced})
        a.add_client("machine", secret, method)
        servers.append(stands(ProtectedServer, a))
    agents = backend(*[machine(each, client_secret=secret) for each in servers]).agents()
    for agent, server, (announced, method) in zip(agents, servers, BY_METADATA, strict=True):
        assert (agent["status"], agent["tools"]) == ("available", [READ, WRITE]), announced
        [request] = server.authorization_server.requests("token")
        assert ("authorization" in request.headers) == (method == "client_secret_basic")
        assert ("client_secret" in request.form) == (method == "client_secret_post")


def test_a_client_signs_an_assertion(backend, stands):
    """One algorithm for each kind of key by itself, others by name."""
    a = stands(AuthorizationServer)
    keys = {"ec": ec.generate_private_key(ec.SECP256R1()), "rsa": rsa.generate_private_key(65537, 2048)}
    entries = []
    for kind, algorithm in (("ec", None), ("ec", "ES256"), ("rsa", None), ("rsa", "PS256")):
        client, key = f"{kind}-{algorithm}", keys[kind]
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        a.add_client(client, method="private_key_jwt", public_key=public)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        proof = {"client_id": client, "client_secret": None, "private_key": pem, "signing_algorithm": algorithm}
        entries.append(machine(stands(ProtectedServer, a), **proof, agent_name=client))
    assert set(statuses(backend(*entries).agents()).values()) == {"available"}
    assert len(a.requests("token")) == 4
    for request in a.requests("token"):
        claims = unverified_claims(request.form["client_assertion"])
        assert (claims["aud"], claims["exp"] - claims["iat"]) == (a.issuer, 60)
        assert "client_secret" not in request.form and "authorization" not in request.headers


SAID = [
    ({}, {}),
    ({"scopes": "mcp:read mcp:write"}, {"scope": "mcp:read mcp:write"}),
    ({"scopes": ["mcp:write"]}, {"scope": "mcp:write"}),
    ({"audience": "https://notes.example.com"}, {"audience": "https://notes.example.com"}),
    ({"resource": "https://notes.example.com"}, {"resource": "https://notes.example.com"}),
    ({"resource": "omit"}, {"resource": None}),
]


def test_what_a_token_is_for_is_said_as_the_entry_says(backend, stands):
    servers = [guarded(stands, server={"checks_audience": False})[0] for _ in SAID]
    agents = backend(*[machine(each, **fields) for each, (fields, _) in zip(servers, SAID)]).agents()
    assert [agent["status"] for agent in agents] == ["available"] * len(SAID)
    for server, (fields, sent) in zip(servers, SAID, strict=True):
        [request] = server.authorization_server.requests("token")
        right = {"grant_type": "client_credentials", "client_id": "machine", "resource": server.url} | sent
        assert request.form == {name: value for name, value in right.items() if value is not None}, fields


def test_a_key_in_the_servers_query_goes_to_no_authorization_server(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    # Its metadata names it as it was asked, with the key.
    server = stands(ProtectedServer, a, f"/mcp?api_key={KEY}", checks_audience=False)
    assert listed(backend(machine(server)))["status"] == "available"
    [request] = a.requests("token")
    assert request.form["resource"] == server.url.split("?")[0]
    assert not [each for each in a.seen if KEY in each.path or KEY in each.body.decode()]


def test_a_server_with_another_name_is_believed_if_the_entry_says_it_too(backend, stands):
    name = "https://notes.example.com/mcp"
    server, a = guarded(stands, server={"metadata": {"resource": name}})
    named, unnamed = backend(machine(server, resource=name)), backend(machine(server))
    assert listed(named)["status"] == "available"
    assert listed(unnamed)["status"] == "unavailable"
    assert [request.form["resource"] for request in a.requests("token")] == [name]


def test_scopes_come_from_the_challenge_then_from_what_the_server_supports(backend, stands):
    server, a = guarded(stands, server={"metadata": {"scopes_supported": ["mcp:write"]}})
    assert listed(backend(machine(server)))["status"] == "available"
    server.challenge = {"scope": "mcp:read"}
    assert listed(backend(machine(server)))["status"] == "available"
    assert [request.form["scope"] for request in a.requests("token")] == ["mcp:write", "mcp:read"]


def test_a_token_is_shared_by_cold_environments(backend, stands):
    server, a = guarded(stands)
    shared = backend(machine(server))
    assert listed(shared)["status"] == "available"
    assert listed_cold(shared)["status"] == "available"
    assert called(shared)["user"] == "machine"
    assert len(server.requests("tools/list")) >= 3, "each environment asked the server"
    assert len(a.requests("token")) == 1


def test_a_token_is_refreshed_before_it_is_over(backend, stands):
    """The authorization server says a second and means an hour: no server ever sees a token that is over."""
    server, a = guarded(stands, token_with={"expires_in": 1})
    refreshed = backend(machine(server))
    wait_for(lambda: listed(refreshed)["status"] == "available" and len(a.requests("token")) >= 3)
    assert {request.form["grant_type"] for request in a.requests("token")} == {"client_credentials"}
    began = [request for request in server.requests("initialize") if request.bearer]
    assert len(began) == len([request for request in server.requests("tools/list")]), "none was refused"


def test_a_refused_token_is_renewed_once(backend, stands):
    server, a = guarded(stands)
    renewed = backend(machine(server))
    assert listed(renewed)["status"] == "available"
    server.refuse_all()
    assert listed(renewed)["status"] == "available"
    assert len(a.requests("token")) == 2


def test_a_server_that_takes_no_token_is_not_asked_in_a_loop(backend, stands):
    server, a = guarded(stands)
    server.metadata = {"authorization_servers": [a.issuer]}
    server.authorization_server = stands(AuthorizationServer)
    agent = listed(backend(machine(server)))
    assert agent["status"] == "unavailable" and "401" in agent["status_reason"]
    assert len(a.requests("token")) == 2
    assert len([request for request in server.requests("initialize") if request.bearer]) == 2


def test_more_scopes_are_asked_for_when_the_server_names_them(backend, stands):
    server, a = guarded(stands, server={"needs": {WRITE: "mcp:write"}})
    asked = backend(machine(server, scopes="mcp:read"))
    assert called(asked, WRITE)["tool"] == WRITE
    assert [request.form["scope"] for request in a.requests("token")] == ["mcp:read", "mcp:read mcp:write"]
    assert called(asked, WRITE)["tool"] == WRITE
    assert listed(asked)["status"] == "available"
    assert len(a.requests("token")) == 2, "what was granted is kept"


def test_scopes_granted_without_being_asked_for_are_kept_when_more_are_needed(backend, stands):
    server, a = guarded(stands, server={"needs": {"tools/list": "mcp:read", WRITE: "mcp:write"}})
    assert called(backend(machine(server)), WRITE)["tool"] == WRITE
    assert set(a.requests("token")[-1].form["scope"].split()) == {"mcp:read", "mcp:write"}


def test_a_server_that_never_has_scopes_enough_ends_it(backend, stands):
    server, a = guarded(stands, server={"needs": {"tools/list": "mcp:write"}, "never_enough": True})
    endless = backend(machine(server))
    agent = listed(endless)
    assert agent["status"] == "unavailable" and "mcp:write" in agent["status_reason"]
    for _ in range(3):
        listed_cold(endless)
    assert len(a.requests("token")) == 2
    assert len(server.requests("tools/list")) <= 8


def test_a_wrong_secret_is_told_with_the_authorization_servers_words(backend, stands):
    server, a = guarded(stands)
    wrong = backend(machine(server, client_secret=CANARY))
    agent = listed(wrong)
    assert agent["status"] == "unavailable"
    assert agent["status_reason"] == "sign-in failed: the token endpoint refused with invalid_client: wrong secret"
    assert not server.requests("initialize"), "without a token the server is not contacted"
    wrong.put_secret([machine(server)])
    assert listed_cold(wrong)["status"] == "available", "the mended secret is used"


def test_tokens_are_never_used_at_another_server(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    one, other = stands(ProtectedServer, a), stands(ProtectedServer, a)
    both = backend(machine(one, agent_name="one"), machine(other, agent_name="other"))
    assert [agent["status"] for agent in both.agents()] == ["available"] * 2
    tokens = [{request.bearer for request in server.seen if request.bearer} for server in (one, other)]
    assert len(tokens[0]) == len(tokens[1]) == 1 and tokens[0] != tokens[1]
    assert sorted(request.form["resource"] for request in a.requests("token")) == sorted([one.url, other.url])


# Users


def test_users_use_their_own_tokens_and_no_others(backend, stands):
    server, a = guarded(stands)
    asked = backend(users(server))
    nobody = listed(asked, "ada")
    assert (nobody["status"], nobody["tools"]) == ("needs_sign_in", [])
    assert "nobody has signed in yet" in nobody["status_reason"]
    connect(asked, "notes", "ada")
    agent = listed(asked, "ada")
    assert (agent["status"], agent["status_reason"], agent["tools"]) == ("available", None, [READ, WRITE])
    assert called(asked, user="ada") == {"tool": READ, "arguments": {"n": 1}, "user": "ada"}
    for other in ("grace", None):
        assert (listed(asked, other)["status"], listed(asked, other)["tools"]) == ("needs_sign_in", [])
    job = ran(asked, {"say": "never"}, user="grace")
    assert job["status"] == "FAILED" and "a user must sign in: nobody has signed in yet" in job["error"]
    connect(asked, "notes", "grace")
    assert [called(asked, user=user)["user"] for user in ("ada", "grace")] == ["ada", "grace"]
    assert len(a.requests("register")) == 1, "one client for all users"


def test_a_new_user_of_an_old_name_inherits_no_sign_in(backend, stands):
    server, _ = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes", "ada", sub="sub-of-the-first")
    status = lambda sub: asked.http("GET", "/oauth/connections", user="ada", sub=sub)[1]["connections"][0]["status"]
    assert (status("sub-of-the-first"), status("sub-of-the-second")) == ("connected", "needs_sign_in")
    # The list's event says `sub-ada`, who is a third one.
    assert listed(asked, "ada")["status"] == "needs_sign_in"
    ours = {"sub": {"S": "sub-of-the-first"}}
    theirs = {"sub": {"S": "sub-of-the-second"}}
    events = [asked.submit(script({"say": "hi"}), ["notes"], user="ada", **sub) for sub in (ours, theirs)]
    for event in events:
        asked.process(event)
    assert [asked.job(event)["status"] for event in events] == ["COMPLETED", "FAILED"]
    assert asked.http("DELETE", "/oauth/notes", user="ada", sub="sub-of-the-second")[0] == 404
    connect(asked, "notes", "ada", sub="sub-of-the-second")
    assert (status("sub-of-the-first"), status("sub-of-the-second")) == ("needs_sign_in", "connected")


def test_a_sign_in_is_completed_by_the_person_who_started_it(backend, stands):
    server, _ = guarded(stands)
    asked = backend(users(server))
    started = asked.http("POST", "/oauth/start", {"agent_id": "notes"}, sub="one")[1]
    asked.http("GET", "/oauth/callback", user=None, query=follow(f"{started['authorization_url']}&login_hint=ada"))
    assert asked.http("POST", "/oauth/complete", {"state": started["state"]}, sub="two")[0] == 403


def test_what_an_administrator_signs_in_to_for_everybody_everybody_uses(backend, stands):
    server, _ = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes", "root", group="Admin", owner="everybody")
    assert [listed(asked, user)["status"] for user in ("root", "ada", None)] == ["available"] * 3
    assert called(asked, user="ada")["user"] == "root"
    connect(asked, "notes", "ada")
    assert called(asked, user="ada")["user"] == "ada", "one's own comes first"
    assert called(asked, user="grace")["user"] == "root"


def test_a_users_token_is_refreshed_before_it_is_over_again_and_again(backend, stands):
    server, a = guarded(stands, token_with={"expires_in": 1})
    asked = backend(users(server))
    connect(asked, "notes")
    wait_for(lambda: called(asked)["user"] == "ada" and len(a.requests("token", grant_type="refresh_token")) >= 3)
    refreshes = a.requests("token", grant_type="refresh_token")
    assert len({request.form["refresh_token"] for request in refreshes}) == len(refreshes), "each is used once"
    assert a.reuses == 0
    began = [request for request in server.requests("initialize") if request.bearer]
    assert len(began) == len(server.requests("tools/call")), "no server saw a token that was over"


def test_a_users_refused_token_is_refreshed_in_mid_run(backend, stands):
    server, a = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    server.refuse_all()
    assert called(asked)["user"] == "ada"
    assert (len(a.requests("token", grant_type="refresh_token")), a.reuses) == (1, 0)


def test_a_refresh_token_that_does_not_rotate_is_used_again(backend, stands):
    server, a = guarded(stands, rotates=False, token_with={"expires_in": 0})
    asked = backend(users(server))
    connect(asked, "notes")
    assert [called(asked)["user"] for _ in range(3)] == ["ada"] * 3
    refreshes = a.requests("token", grant_type="refresh_token")
    assert len(refreshes) >= 3 and len({request.form["refresh_token"] for request in refreshes}) == 1


def test_a_revoked_grant_needs_a_sign_in_keeps_its_tools_and_is_left_alone(backend, stands):
    server, a = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    a.revoke_all()
    agent = listed(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert "no longer takes the sign-in: the grant was revoked" in agent["status_reason"]
    tokens, requests = len(a.requests("token")), len(server.seen)
    for _ in range(3):
        assert listed(asked, "ada")["status"] == "needs_sign_in"
    agent = listed_cold(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert ran(asked, {"say": "never"})["status"] == "FAILED"
    assert (len(a.requests("token")), len(server.seen)) == (tokens, requests), "nobody is asked any more"
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"


def test_an_authorization_server_out_of_order_costs_nobody_the_sign_in(backend, stands):
    server, a = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    server.refuse_all()
    a.token_error = {"error": "temporarily_unavailable", "status": 503}
    agent = listed(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("stale", [READ, WRITE])
    assert "the token endpoint refused with temporarily_unavailable" in agent["status_reason"]
    a.token_error = None
    assert listed_cold(asked, "ada")["status"] == "available"
    assert a.reuses == 0


def test_an_answer_that_got_lost_ends_in_a_new_sign_in_and_no_second_use(backend, stands):
    server, a = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    server.refuse_all()
    a.lost = {"token": 1}
    agent = listed(asked, "ada")
    assert agent["status"] == "needs_sign_in" and "cut off" in agent["status_reason"]
    assert listed_cold(asked, "ada")["status"] == "needs_sign_in"
    assert a.reuses == 0


def test_an_access_token_without_a_refresh_token_needs_a_sign_in_when_it_is_over(backend, stands):
    server, a = guarded(stands, refresh_tokens="never", token_with={"expires_in": 1})
    asked = backend(users(server))
    connect(asked, "notes")
    agent = wait_for(lambda: (agent := listed(asked, "ada"))["status"] != "available" and agent)
    assert agent["status"] == "needs_sign_in"
    assert "the access token has expired, and there is no refresh token" in agent["status_reason"]
    assert len(a.requests("token")) == 1


def test_scopes_that_only_a_user_can_grant_are_named_and_asked_for_at_the_next_sign_in(backend, stands):
    server, a = guarded(stands, server={"needs": {WRITE: "mcp:write"}})
    asked = backend(users(server))
    assert scopes_of(connect(asked, "notes")) == set()
    assert "the server wants the scopes mcp:write" in called(asked, WRITE)
    assert called(asked, READ)["user"] == "ada", "what was granted is still good"
    assert len(a.requests("token")) == 1
    assert scopes_of(connect(asked, "notes")) == {"mcp:read", "mcp:write"}
    assert called(asked, WRITE)["user"] == "ada"


def test_a_server_that_wants_more_scopes_to_be_listed_needs_a_sign_in(backend, stands):
    server, a = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    server.needs = {"tools/list": "mcp:write"}
    agent = listed(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert "the server wants the scopes mcp:write" in agent["status_reason"]
    assert scopes_of(connect(asked, "notes")) == {"mcp:read", "mcp:write"}
    assert listed(asked, "ada")["status"] == "available"
    server.never_enough = True
    for _ in range(3):
        assert listed_cold(asked, "ada")["status"] != "available"
    assert len(a.requests("token")) == 2, "it is not tried for ever"


# A certified authorization server


@pytest.fixture(scope="module")
def certified():
    provider = OidcProvider(access_token_seconds=2)
    yield provider
    provider.stop()


def test_a_certified_server_from_registration_to_rotation_to_revocation(backend, stands, certified):
    """Its issuer has a path; it wants the resource everywhere, names itself, and rotates refresh tokens."""
    server = stands(ProtectedServer, certified)
    asked = backend(users(server))
    url = connect(asked, "notes", "grace")
    assert f"{certified.issuer}/authorize" == url.split("?")[0]
    assert listed(asked, "grace")["status"] == "available"
    assert listed(asked, "ada")["status"] == "needs_sign_in"

    def refreshes():
        return [request for request in certified.seen["token_requests"] if request["grant_type"] == "refresh_token"]

    before = len(refreshes())
    wait_for(lambda: called(asked, user="grace")["user"] == "grace" and len(refreshes()) - before >= 2)
    assert {request["status"] for request in refreshes()[before:]} == {200}
    assert {request["resource"] for request in refreshes()[before:]} == {server.url}
    assert listed(asked, "grace")["status"] == "available"
    certified.revoke_all()
    agent = listed_cold(asked, "grace")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    before = len(refreshes())
    assert listed_cold(asked, "grace")["status"] == "needs_sign_in"
    assert len(refreshes()) == before
    connect(asked, "notes", "grace")
    assert called(asked, user="grace")["user"] == "grace"


def test_a_user_who_says_no_at_a_certified_server_is_not_signed_in(backend, stands, certified):
    server = stands(ProtectedServer, certified)
    asked = backend(users(server))
    _, started = asked.http("POST", "/oauth/start", {"agent_id": "notes"})
    back = follow(f"{started['authorization_url']}&login_hint=nobody")
    status, page = asked.http("GET", "/oauth/callback", user=None, query=back)
    assert status == 400 and "the authorization endpoint refused with access_denied: the user said no" in page
    assert listed(asked, "ada")["status"] == "needs_sign_in"


def test_a_certified_server_that_wants_to_be_asked_for_offline_access_is(backend, stands):
    provider = stands(OidcProvider, access_token_seconds=1, refresh_tokens="offline_access")
    server = stands(ProtectedServer, provider, metadata={"scopes_supported": ["mcp:read"]})
    asked = backend(users(server))
    assert scopes_of(connect(asked, "notes")) == {"mcp:read", "offline_access"}
    wait_for(lambda: called(asked)["user"] == "ada" and provider.seen["token_by_grant"].get("refresh_token", 0) >= 2)


def test_a_machine_at_a_certified_server(backend, stands):
    client = {"client_id": "machine", "client_secret": "machine-secret", "grant_types": ["client_credentials"]}
    provider = stands(OidcProvider, clients=[client | {"redirect_uris": [], "response_types": []}])
    server = stands(ProtectedServer, provider)
    asked = backend(machine(server, scopes="mcp:read"))
    assert called(asked)["user"] == "machine"
    assert provider.seen["token_by_grant"] == {"client_credentials": 1}


# Clients


def test_a_client_registered_beforehand_is_used(backend, stands):
    server, a = guarded(stands)
    a.add_client("ours", "our-secret", redirect_uris=None)
    asked = backend(users(server, client_id="ours", client_secret="our-secret"))
    assert "client_id=ours&" in connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    assert not a.requests("register")


def test_a_client_metadata_document_comes_before_registration(backend, stands):
    server, a = guarded(stands, accepts_client_documents=True)
    asked = backend(users(server))
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    [request] = a.requests("authorize")
    document = asked.world.configuration("ConnectionsApiFunctionArn")["Environment"]["Variables"]["OAUTH_CLIENT_METADATA_URL"]
    assert request.query["client_id"] == document and document.startswith("https://")
    assert not a.requests("register")


def test_a_client_that_registers_proves_itself_as_it_was_told_to(backend, stands):
    told = {"token_endpoint_auth_method": "client_secret_post", "client_secret": "given-secret"}
    server, a = guarded(stands, registration_with=told, token_with={"expires_in": 1})
    asked = backend(users(server))
    connect(asked, "notes")
    wait_for(lambda: called(asked)["user"] == "ada" and a.requests("token", grant_type="refresh_token"))
    assert {request.form["client_secret"] for request in a.requests("token")} == {"given-secret"}


# Cognito


@pytest.fixture(scope="module")
def cognito(world):
    pool = CognitoOAuth(world.aws, redirect_uris=[world.outputs["OAuthCallbackUrl"]], access_token_seconds=2)
    yield pool
    pool.stop()


def test_a_cognito_user_signs_in_and_is_refreshed(backend, stands, cognito):
    server = stands(ProtectedServer, cognito, checks_audience=False)
    client = {"client_id": cognito.client_id, "client_secret": cognito.client_secret, "scopes": "openid mcp/read"}
    asked = backend(users(server, **client))
    connect(asked, "notes", browser=cognito.follow)
    assert listed(asked, "ada")["status"] == "available"
    wait_for(lambda: called(asked)["user"] == "ada" and len({request.bearer for request in server.seen} - {None}) >= 3)
    assert not cognito.front.requests("token"), "the endpoints are where its metadata says"


def test_a_machine_at_cognito(backend, stands, cognito):
    server = stands(ProtectedServer, cognito, checks_audience=False, needs={"tools/list": "mcp/read"})
    client = {"client_id": cognito.machine_client_id, "client_secret": cognito.machine_client_secret}
    asked = backend(machine(server, **client, scopes="mcp/read"))
    assert called(asked)["user"] == cognito.machine_client_id
    wrong = listed(backend(machine(server, **client | {"client_secret": CANARY}, scopes="mcp/read")))
    assert wrong["status"] == "unavailable" and "invalid_client" in wrong["status_reason"]


# Discovery


def found(backend, servers) -> dict[str, str]:
    """The status of each server's agent by its name, clients signing in for themselves."""
    return statuses(backend(*[machine(each, agent_name=name) for name, each in servers.items()]).agents())


def test_the_servers_metadata_is_found_wherever_it_is_alone(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    well_known, silent = "/.well-known/oauth-protected-resource", {"resource_metadata": None}
    servers = {
        "named": stands(ProtectedServer, a, locations=["/elsewhere/.well-known/of/mine"]),
        "inserted": stands(ProtectedServer, a, locations=[f"{well_known}/mcp"], challenge=silent),
        "root": stands(ProtectedServer, a, locations=[well_known], challenge=silent),
        "origin": stands(ProtectedServer, a, locations=[well_known], challenge=silent),
        # As gateways do.
        "renamed": stands(ProtectedServer, a, challenge_header="x-amzn-remapped-www-authenticate"),
        "taken": stands(ProtectedServer, a, challenge_text=""),
    }
    servers["origin"].metadata = {"resource": servers["origin"].base}
    assert found(backend, servers) == dict.fromkeys(servers, "available")
    resources = {request.form["resource"] for request in a.requests("token")}
    assert resources == {server.resource for server in servers.values()}


def test_the_authorization_servers_metadata_is_found_wherever_it_is_alone(backend, stands):
    places = {
        "oauth inserted": ("/tenant", "/.well-known/oauth-authorization-server/tenant"),
        "openid inserted": ("/tenant", "/.well-known/openid-configuration/tenant"),
        "openid appended": ("/tenant", "/tenant/.well-known/openid-configuration"),
        "oauth appended": ("/tenant", "/tenant/.well-known/oauth-authorization-server"),
        "oauth": ("", "/.well-known/oauth-authorization-server"),
        "openid": ("", "/.well-known/openid-configuration"),
    }
    servers = {name.replace(" ", "_"): guarded(stands, path=path, locations=[at])[0] for name, (path, at) in places.items()}
    assert found(backend, servers) == dict.fromkeys(servers, "available")


def test_a_server_without_metadata_is_its_own_authorization_server(backend, stands):
    """As it was before 2025-06-18."""
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    server = stands(ProtectedServer, a, locations=[])
    server.answer = own_authorization_server(server, a)
    assert listed(backend(machine(server)))["status"] == "available"
    assert len(a.requests("token")) == 1


def own_authorization_server(server, a):
    """Has `a`'s metadata at the server's own root, under the server's own name."""
    answered = server.answer

    def answer(request):
        if request.path == "/.well-known/oauth-authorization-server":
            request.endpoint = "metadata"
            return Answer(200, {"issuer": server.base, "token_endpoint": f"{a.issuer}/token"})
        return answered(request)

    return answer


def test_endpoints_that_the_entry_names_need_no_discovery(backend, stands):
    server, a = guarded(stands, path="/tenant", locations=[])
    server.locations = []
    named = {"token_url": f"{a.issuer}/token"}
    a.add_client("posting", "machine-secret", "client_secret_post")
    for client in ("machine", "posting"):
        # Nothing says how a secret goes: in one way, and if that is refused in the other.
        assert listed(backend(machine(server, **named, client_id=client)))["status"] == "available"
    a.add_client("ours")
    named |= {"authorization_url": f"{a.issuer}/authorize", "client_id": "ours"}
    asked = backend(users(server, **named))
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    assert not a.requests("metadata")


def test_an_issuer_that_the_entry_names_goes_before_the_servers(backend, stands):
    server, right = guarded(stands, path="/tenant")
    wrong = stands(AuthorizationServer)
    server.metadata = {"authorization_servers": [wrong.issuer]}
    assert listed(backend(machine(server, issuer=right.issuer)))["status"] == "available"
    assert wrong.seen == []


def test_metadata_that_is_busy_is_asked_for_again(backend, stands):
    servers = {}
    for status, headers in ((500, {}), (503, {}), (429, {"retry-after": "0"})):
        server, a = guarded(stands)
        a.fail("metadata", times=2, status=status, headers=headers)
        server.answer = busy(server, 2, status, headers)
        servers[str(status)] = server
    assert found(backend, servers) == dict.fromkeys(servers, "available")
    for server in servers.values():
        a = server.authorization_server
        assert [request.path for request in a.requests("metadata")][:3] == a.locations[:1] * 3


def busy(server, times, status, headers):
    """Has the server's metadata answer that often with a status."""
    answered, left = server.answer, [times]

    def answer(request):
        if "/.well-known/" in request.route and left[0]:
            left[0] -= 1
            request.endpoint = "metadata"
            return Answer(status, "<h1>Busy</h1>", headers)
        return answered(request)

    return answer


WRONG = {
    "resource": ("server", {"metadata": {"resource": f"{EVIL}/mcp"}}, f"for the resource {EVIL}/mcp, not for "),
    "issuer": ("a", {"metadata": {"issuer": EVIL}}, f"names the issuer {EVIL}, not "),
    "address": ("a", {"metadata": {"token_endpoint": "http://169.254.169.254/token"}}, "token endpoint was not reached: 169.254.169.254"),
    "mapped": ("a", {"metadata": {"token_endpoint": "http://[::ffff:169.254.169.254]/"}}, "the token endpoint was not reached: "),
    "endpoint": ("a", {"metadata": {"token_endpoint": None}}, "answered without a usable token_endpoint"),
    "html": ("a", {"metadata_answer": Answer(200, "<html>hello</html>")}, "metadata answered with HTML instead of JSON"),
    "nowhere": ("a", {"locations": []}, "no metadata says where"),
}


def test_metadata_that_is_wrong_is_refused_and_no_secret_sent(backend, stands):
    servers = {}
    for name, (whose, steered, _) in WRONG.items():
        servers[name] = guarded(stands, **steered)[0] if whose == "a" else guarded(stands, server=steered)[0]
    agents = backend(*[machine(each, agent_name=name) for name, each in servers.items()]).agents()
    for agent, (name, (_, _, reason)) in zip(agents, WRONG.items(), strict=True):
        assert agent["status"] == "unavailable" and reason in agent["status_reason"], (name, agent["status_reason"])
        assert not servers[name].authorization_server.requests("token")


# The issuer


def shown(a) -> list:
    """The requests that brought more than a question."""
    return [request for request in a.seen if request.body or "authorization" in request.headers]


@pytest.fixture
def moved(stands):
    """A server that names another authorization server than before: `moved(server)` gives that one."""

    def move(server):
        other = stands(AuthorizationServer)
        other.add_client("machine", "machine-secret")
        server.metadata = {"authorization_servers": [other.issuer]}
        server.refuse_all()
        return other

    return move


def test_a_new_authorization_server_gets_no_clients_secret(backend, stands, moved):
    server, a = guarded(stands)
    asked = backend(machine(server))
    assert listed(asked)["status"] == "available"
    other = moved(server)
    for agent in (listed(asked), listed_cold(asked)):
        assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
        assert f"{other.issuer}, where it was {a.issuer}" in agent["status_reason"]
    assert other.requests("metadata") and shown(other) == []
    trusted = backend(machine(server, issuer=other.issuer))
    server.authorization_server = other
    assert listed(trusted)["status"] == "available", "an entry may say that it trusts the new one"


def test_what_was_trusted_first_is_remembered_when_its_tokens_are_gone(backend, stands, moved, world):
    server, a = guarded(stands)
    asked = backend(machine(server))
    assert listed(asked)["status"] == "available"
    forget(world, asked, "grant#")
    other = moved(server)
    agent = listed_cold(asked)
    assert agent["status"] == "needs_sign_in" and a.issuer in agent["status_reason"]
    assert other.requests("metadata") and shown(other) == []


def forget(world, backend, kind: str):
    """Takes items of a kind out of the table of connections."""
    table = backend.environment["CONNECTIONS_TABLE"]
    keys = [item["PK"] for item in world.dynamodb.scan(TableName=table)["Items"] if item["PK"]["S"].startswith(kind)]
    assert keys
    for key in keys:
        world.dynamodb.delete_item(TableName=table, Key={"PK": key})


def test_a_new_authorization_server_gets_no_refresh_token(backend, stands, moved):
    server, a = guarded(stands)
    asked = backend(users(server))
    connect(asked, "notes")
    assert listed(asked, "ada")["status"] == "available"
    other = moved(server)
    agent = listed(asked, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
    assert f"{other.issuer}, where it was {a.issuer}" in agent["status_reason"]
    assert other.requests("metadata") and shown(other) == []
    server.authorization_server = other
    connect(asked, "notes")
    assert called(asked)["user"] == "ada", "a user may sign in there knowingly"


# AgentCore


@pytest.fixture
def runtime(stands):
    """A runtime of AgentCore and its authorization server: `runtime(**options)`."""

    def start(**options):
        a = stands(AuthorizationServer)
        a.add_client("machine", "machine-secret")
        return stands(AgentCoreServer, a, **options), a

    return start


def test_a_runtime_is_found_by_its_arn(backend, runtime):
    """By either field, with a qualifier and without."""
    for field, qualifier in (("agent_runtime_arn", None), ("mcp_url", "prod")):
        server, a = runtime(qualifier=qualifier or "DEFAULT")
        entry = machine(server) | {"mcp_url": None, field: server.ARN, "qualifier": qualifier}
        asked = backend(entry, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base)
        agent = listed(asked)
        assert (agent["status"], agent["tools"]) == ("available", [READ, WRITE]), agent["status_reason"]
        assert called(asked)["user"] == "machine"
        assert {request.path for request in server.requests("initialize")} == {server.target}
        assert {request.form["resource"] for request in a.requests("token")} == {server.url}
        assert server.url.endswith(f"?qualifier={qualifier or 'DEFAULT'}")


def test_a_runtimes_metadata_is_found_without_its_challenge(backend, runtime):
    server, _ = runtime(challenge_text="")
    entry = machine(server) | {"mcp_url": None, "agent_runtime_arn": server.ARN, "region": "us-east-1"}
    assert listed(backend(entry, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base))["status"] == "available"


def test_a_runtimes_users_sign_in(backend, runtime):
    server, _ = runtime()
    entry = {"agent_runtime_arn": server.ARN, "auth_type": "oauth2", "agent_name": "notes"}
    asked = backend(entry, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base)
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"


def test_a_runtimes_resource_can_be_left_out_or_given(backend, runtime):
    server, a = runtime(checks_audience=False)
    entry = machine(server) | {"mcp_url": None, "agent_runtime_arn": server.ARN}
    resources = ["omit", "https://notes.example.com"]
    entries = [entry | {"agent_name": f"notes {n}", "resource": resource} for n, resource in enumerate(resources)]
    agents = backend(*entries, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base).agents()
    assert [agent["status"] for agent in agents] == ["available"] * 2
    assert {request.form.get("resource") for request in a.requests("token")} == {None, resources[1]}


def test_what_a_runtime_cannot_be_is_refused_with_the_reason(backend):
    bad = [
        ({"auth_type": "api_key", "credentials": KEY}, "field auth_type: api_key does not work with AgentCore, which takes OAuth"),
        ({"auth_type": "oauth2", "region": "eu-west-1"}, "field region: is another one than the ARN's"),
        ({"auth_type": "oauth2", "mcp_url": "https://a.example/mcp"}, "field agent_runtime_arn: is given beside mcp_url"),
        ({"auth_type": "oauth2", "agent_runtime_arn": "arn:aws:s3:::x"}, "field agent_runtime_arn: is not a runtime's ARN"),
    ]
    refused = backend(*[{"agent_runtime_arn": AgentCoreServer.ARN} | fields for fields, _ in bad])
    assert refused.agents() == []
    for position, (_, problem) in enumerate(bad, 1):
        assert any(each.startswith(f"entry {position}, {problem}") for each in skipped(refused)), problem


# Transports and revisions


@pytest.mark.parametrize(("transport", "named"), [("sse", "sse"), ("streamable-http", "streamable_http"), ("streamable-http", None)])
def test_a_server_of_the_python_sdk_is_listed_and_called(backend, stands, transport, named):
    server = stands(SseServer, transport, bearer=KEY)
    entry = {"mcp_url": server.url, "auth_type": "api_key", "credentials": KEY, "agent_name": "notes", "transport": named}
    asked = backend(entry)
    agent = listed(asked)
    assert (agent["status"], agent["tools"]) == ("available", ["add", "slow"]), agent["status_reason"]
    job = ran(asked, {"call": "add", "with": {"a": 2, "b": 3}}, {"say": "{result}"})
    assert json.loads(job["result"])["content"].split()[0] == "5"
    wait_for(lambda: server.seen["open"] == 0)
    if transport == "sse":
        # The stream of each environment, and a message for each of initialize, initialized, list and call.
        assert server.seen["requests"]["GET /sse"] == 2 and server.seen["requests"]["POST /messages"] >= 6


def test_a_server_over_sse_that_refuses_the_key_is_told(backend, stands):
    server = stands(SseServer, bearer="another")
    agent = listed(backend({"mcp_url": server.url, "auth_type": "api_key", "credentials": KEY, "transport": "sse"}))
    assert agent["status"] == "unavailable" and "401" in agent["status_reason"]


def test_a_server_over_sse_behind_oauth(backend, stands):
    """It knows no OAuth itself: the token that it wants is the one that is given out."""
    a = stands(AuthorizationServer, token_with={"access_token": KEY})
    a.add_client("machine", "machine-secret")
    server = stands(SseServer, bearer=KEY)
    asked = backend(machine(server, transport="sse", token_url=f"{a.issuer}/token"))
    assert listed(asked)["tools"] == ["add", "slow"]


def test_every_revision_is_spoken(backend, stands):
    revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
    servers = {revision: stands(PlainServer, revision=revision) for revision in revisions}
    asked = backend(*[{"mcp_url": each.url, "agent_name": revision} for revision, each in servers.items()])
    assert statuses(asked.agents()) == dict.fromkeys(revisions, "available")
    for revision, server in servers.items():
        assert called(asked, agent=revision) == {"n": 1}, revision
        if revision >= "2025-06-18":
            [request] = server.requests("tools/call")
            assert request.headers["mcp-protocol-version"] == revision


def test_a_server_without_initialize_is_spoken_to_however_it_refuses_that(backend, stands):
    def refusal(status, code):
        error = {"code": code, "message": "refused", "data": {"supported": ["2026-07-28"]}}
        return Answer(status, {"jsonrpc": "2.0", "id": 0, "error": error})

    refusals = [Answer(404, "<h1>Not Found</h1>"), refusal(404, -32601), refusal(200, -32601), refusal(400, -32022)]
    servers = [stands(PlainServer, revision="2026-07-28", refusal=each) for each in refusals]
    asked = backend(*[{"mcp_url": each.url} for each in servers])
    for _ in range(3):
        assert [agent["status"] for agent in asked.agents()] == ["available"] * len(servers)
    for server in servers:
        assert len(server.requests("initialize")) == 1, "it is remembered how the server is spoken to"


def test_a_stateless_server_behind_oauth(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    server = stands(PlainServer, revision="2026-07-28")
    named = {"token_url": f"{a.issuer}/token"}
    asked = backend(machine(server, **named))
    assert listed(asked)["status"] == "available"
    assert all(a.introspect(request.bearer)["active"] for request in server.requests("tools/list"))


def test_a_revision_that_nobody_knows_is_told(backend, stands):
    server = stands(PlainServer, revision="1999-01-01")
    agent = listed(backend({"mcp_url": server.url}))
    assert agent["status"] == "unavailable" and "revision" in agent["status_reason"]


# Which tools are offered


TOOLS = ["list_notes", "read_notes", "write_notes", "delete_notes"]


CHOSEN = {
    "unsaid": (None, TOOLS),
    "all": ("all", TOOLS),
    "list": (["read_*", "list_notes"], ["list_notes", "read_notes"]),
    "deny": ({"deny": ["*te_notes"]}, ["list_notes", "read_notes"]),
    "both": ({"allow": ["*_notes"], "deny": ["[dw]*"]}, ["list_notes", "read_notes"]),
    "one": ({"allow": ["rea?_notes"]}, ["read_notes"]),
    "none": ([], []),
}


def test_tools_are_offered_as_the_entry_says(backend, stands):
    """All entries are of one server, whose tools are asked for once."""
    server = stands(PlainServer, tools=TOOLS)
    entry = {"mcp_url": server.url, "agent_description": "Notes."}
    entries = [entry | {"agent_name": name, "tools": chosen} for name, (chosen, _) in CHOSEN.items()]
    asked = backend(*entries, TOOL_CACHE_TTL_SECONDS="900")
    for agent, (name, (_, offered)) in zip(asked.agents(), CHOSEN.items(), strict=True):
        assert (agent["agent_id"], agent["status"], agent["tools"]) == (name, "available", offered)
        told = f"Notes. The tools available are: {', '.join(offered)}." if offered else "Notes."
        assert agent["agent_description"] == told
    assert len(server.requests("tools/list")) == 1
    for name in ("both", "none"):
        job = ran(asked, {"say": "Tools: {tools}"}, agent=name)
        assert json.loads(job["result"])["content"] == f"Tools: {','.join(CHOSEN[name][1])}"


def test_a_tool_that_is_denied_is_never_called(backend, stands):
    server = stands(PlainServer, tools=TOOLS)
    asked = backend({"mcp_url": server.url, "agent_name": "notes", "tools": {"deny": ["delete_*"]}})
    assert "There is no tool delete_notes" in called(asked, "delete_notes")
    assert not server.requests("tools/call")


# Refreshing at the same time


@pytest.fixture
def together(backend):
    """Three cold environments of one entry that list at once: `together(entry, a, user)` gives their agents.

    The authorization server answers when all three have looked for the tokens and found none that is good.
    """

    def together(first, a, user=None):
        same = {name: first.environment[name] for name in ("CONNECTIONS_TABLE", "CATALOG_TABLE")}
        environments = [first, *[backend(EXTERNAL_MCP_AGENTS_SECRET=first.name, **same) for _ in range(2)]]
        before = {each: each.calls("GetItem") for each in environments}
        answered = a.answer

        def answer(request):
            if request.route.endswith("/token"):
                wait_for(lambda: all(each.calls("GetItem") > before[each] for each in environments), 14)
            return answered(request)

        a.answer = answer
        with ThreadPoolExecutor(3) as threads:
            return list(threads.map(lambda environment: listed(environment, user), environments))

    return together


def test_cold_environments_that_list_at_once_refresh_once(backend, stands, together):
    server, a = guarded(stands, token_with={"expires_in": 0})
    first = backend(users(server))
    connect(first, "notes")
    a.token_with = {}
    agents = together(first, a, "ada")
    assert [agent["status"] for agent in agents] == ["available"] * 3, agents
    assert (len(a.requests("token", grant_type="refresh_token")), a.reuses) == (1, 0)


def test_cold_environments_that_list_at_once_sign_a_client_in_once(backend, stands, together):
    server, a = guarded(stands)
    agents = together(backend(machine(server)), a)
    assert [agent["status"] for agent in agents] == ["available"] * 3, agents
    assert len(a.requests("token")) == 1
