"""Refusals by authorization servers. The verdict depends on the endpoint, the grant and the client.

The tests use the command line (`line`) and the deployed functions. Made after public bug reports: self-registered
clients that were deleted, invalid refresh tokens with other error codes than `invalid_grant`, registration that is
announced but closed, secrets that are accepted with one method only.
"""

import pytest

from local.processes import free_port
from tests.lab import Answer, AuthorizationServer, ProtectedServer, follow
from tests.support import as_user, connect, machine_entry, own_tables, user_entry

PAGE = "<!doctype html><h1>We do not know this application</h1>"


@pytest.fixture
def backend(backend, world):
    return lambda *entries, **environment: backend(entries, **own_tables(world) | environment)


@pytest.fixture
def pair(stands):
    """An authorization server and an MCP server that trusts it."""

    def make(**steered):
        a = stands(AuthorizationServer, **steered)
        return a, stands(ProtectedServer, a)

    return make


def signed_in(line) -> None:
    done = tried(line)
    assert done.returncode == 0, done.stderr


def tried(line):
    """Runs a login whose browser comes back, and returns the finished process."""
    pending = line.start("login", "notes")
    pending.open_redirect_uri(follow(pending.url))
    return pending.done()


def last(line) -> dict:
    [report] = line.doctor()
    return report["steps"][-1]


def listed(backend, user="ada") -> dict:
    backend.go_cold()
    [agent] = backend.agents(as_user(user))
    return agent


# How a client proves itself


@pytest.mark.parametrize(
    "offered",
    [None, [], ["client_secret_basic"], ["client_secret_post"], ["client_secret_basic", "client_secret_post"]],
)
@pytest.mark.parametrize(
    "takes",
    [
        {"secret_goes_by": "client_secret_basic"},
        {"secret_goes_by": "client_secret_post"},
        {"secret_goes_by": "client_secret_basic", "wants_client_id_in_form": True},
        {"secret_goes_by": "client_secret_basic", "refuses_client_id_beside_basic": True},
        {"secret_goes_by": "client_secret_post", "wants_client_id_in_form": True},
    ],
    ids=lambda takes: ", ".join(str(value) if value is not True else name for name, value in takes.items()),
)
def test_a_secret_is_sent_until_it_is_taken_and_then_so_at_once(line, pair, offered, takes):
    a, server = pair(**takes, metadata={"token_endpoint_auth_methods_supported": offered})
    a.add_client("machine", "machine-secret")
    line.put(machine_entry(server))
    assert last(line)["ok"], last(line)
    first = len(a.requests("token"))
    assert first <= 3
    a.expire_access_tokens()
    assert last(line)["ok"]
    assert len(a.requests("token")) == first + 1, "what worked is remembered"


@pytest.mark.parametrize("echoed", ["none", "client_secret_post", "client_secret_basic", None])
def test_a_server_that_issues_a_secret_is_sent_it(line, pair, echoed):
    a, server = pair(secret_goes_by="client_secret_post")
    a.registration_with = {"client_secret": "issued-secret-of-theirs", "token_endpoint_auth_method": echoed}
    line.put(user_entry(server))
    signed_in(line)
    assert any("issued-secret-of-theirs" in request.body.decode() for request in a.requests("token"))


def test_a_client_registers_for_the_simplest_method_on_offer(line, pair):
    for offered, asked in (
        (["client_secret_basic", "client_secret_post", "none"], "none"),
        (["client_secret_basic", "client_secret_post"], "client_secret_post"),
        (["client_secret_basic"], "client_secret_basic"),
        (None, "client_secret_basic"),
    ):
        a, server = pair(metadata={"token_endpoint_auth_methods_supported": offered})
        line.put(user_entry(server))
        signed_in(line)
        assert a.requests("register")[0].json["token_endpoint_auth_method"] == asked


# A client that was purged


UNKNOWN = {
    "invalid_client": Answer(401, {"error": "invalid_client", "error_description": "no such client"}),
    "invalid_client, 400": Answer(400, {"error": "invalid_client"}),
    "unauthorized_client": Answer(401, {"error": "unauthorized_client", "error_description": "Invalid client_id"}),
    "unauthorized_client, 400": Answer(400, {"error": "unauthorized_client"}),
    "a page": Answer(401, PAGE),
    "a page, 403": Answer(403, PAGE),
}


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_a_client_purged_at_a_refresh_is_registered_anew_for_everybody(backend, pair, unknown):
    a, server = pair(unknown_client=UNKNOWN[unknown], access_token_seconds=0)
    made = backend(user_entry(server))
    connect(made, "notes")
    connect(made, "notes", "grace")
    assert len(a.requests("register")) == 1
    a.purge_clients()
    agent = listed(made)
    assert agent["status"] == "needs_sign_in" and "registers it anew" in agent["status_reason"], agent
    [mine] = [c for c in made.http("GET", "/oauth/connections")[1]["connections"] if c["agent_id"] == "notes"]
    assert mine["status"] == "needs_sign_in"
    # The registration is deleted for all users: a user who never refreshed starts with a new client too.
    a.access_token_seconds = 3600
    connect(made, "notes", "grace")
    connect(made, "notes")
    assert len(a.requests("register")) == 2
    assert listed(made)["status"] == "available" and listed(made, "grace")["status"] == "available"


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_a_client_purged_before_the_code_is_exchanged_is_registered_anew(line, pair, unknown):
    a, server = pair(unknown_client=UNKNOWN[unknown])
    line.put(user_entry(server))
    pending = line.start("login", "notes")
    back = follow(pending.url)
    a.purge_clients()
    pending.open_redirect_uri(back)
    done = pending.done()
    assert done.returncode != 0 and "new client is registered" in done.stderr, done.stderr
    assert "client_secret" not in done.stderr
    signed_in(line)
    assert len(a.requests("register")) == 2


def test_a_user_who_never_comes_back_from_a_dead_client_gets_a_new_one(backend, pair):
    """The authorization server shows an error page and does not redirect. A second start registers a new client."""
    a, server = pair()
    made = backend(user_entry(server))
    connect(made, "notes", "grace")
    a.purge_clients()
    first = made.http("POST", "/oauth/start", {"agent_id": "notes"})[1]["authorization_url"]
    with pytest.raises(AssertionError):
        follow(first)  # ends on the error page
    assert len(a.requests("register")) == 1
    connect(made, "notes")
    assert len(a.requests("register")) == 2, "without an Admin and without --register-anew"
    # A user who closes the page repeatedly does not register more and more clients.
    for _ in range(3):
        made.http("POST", "/oauth/start", {"agent_id": "notes"}, "grace")
    assert len(a.requests("register")) == 2


# Refresh tokens that are permanently invalid


DEAD = [
    Answer(400, {"error": "invalid_grant"}),
    Answer(401, {"error": "invalid_grant"}),
    Answer(500, {"error": "invalid_grant"}),
    Answer(400, {"error": "invalid_request", "error_description": "refresh token expired"}),
    Answer(200, {"error": "bad_refresh_token"}),
    Answer(400, {"error": "unsupported_grant_type"}),
    Answer(403, {"error": "session_expired"}),
    Answer(400, PAGE),
    Answer(404, None),
]


@pytest.mark.parametrize(
    "answer",
    DEAD,
    ids=lambda a: f"{a.status} {a.body if isinstance(a.body, str) else (a.body or {}).get('error')}"[:30],
)
def test_a_refresh_refused_for_good_needs_a_sign_in(backend, pair, answer):
    a, server = pair(access_token_seconds=0)
    made = backend(user_entry(server))
    connect(made, "notes")
    a.token_answers = {"refresh_token": answer}
    agent = listed(made)
    assert agent["status"] == "needs_sign_in", agent
    [mine] = [c for c in made.http("GET", "/oauth/connections")[1]["connections"] if c["agent_id"] == "notes"]
    assert mine["status"] == "needs_sign_in"
    listed(made)
    assert len(a.requests("token", grant_type="refresh_token")) == 1, "it is not sent again at each list"
    a.token_answers = {}
    a.access_token_seconds = 3600
    connect(made, "notes")
    assert listed(made)["status"] == "available"


PASSING = [
    Answer(408, None),
    Answer(429, {"error": "slow_down"}),
    Answer(500, PAGE),
    Answer(503, {"error": "x"}),
    Answer(400, {"error": "temporarily_unavailable"}),
    Answer(400, {"error": "slow_down"}),
    Answer(400, {"error": "server_error"}),
]


@pytest.mark.parametrize("answer", PASSING, ids=lambda a: f"{a.status} {str(a.body)[:20]}")
def test_a_refresh_that_may_succeed_later_keeps_the_sign_in(backend, pair, answer):
    a, server = pair(access_token_seconds=0)
    made = backend(user_entry(server))
    connect(made, "notes")
    a.token_answers = {"refresh_token": answer}
    agent = listed(made)
    assert agent["status"] in ("stale", "unavailable"), agent
    a.token_answers = {}
    a.access_token_seconds = 3600
    assert listed(made)["status"] == "available"


@pytest.mark.parametrize(("code", "field"), [("invalid_scope", "scopes"), ("invalid_target", "resource")])
def test_a_fault_of_scope_or_target_keeps_the_grant_and_names_the_field(line, pair, code, field):
    a, server = pair(access_token_seconds=0)
    line.put(user_entry(server))
    signed_in(line)
    a.token_answers = {"refresh_token": Answer(400, {"error": code})}
    step = last(line)
    assert (step["reason"], code in step["detail"]) == ("refused", True)
    assert f"check {field} in the entry" in step["remedy"]
    a.token_answers = {}
    a.access_token_seconds = 3600
    assert last(line)["ok"]


def test_an_entrys_own_client_that_is_refused_keeps_the_grant(line, pair):
    a, server = pair(access_token_seconds=0)
    a.add_client("ours", "our-secret-here")
    line.put(user_entry(server, client_id="ours", client_secret="our-secret-here"))
    signed_in(line)
    a.token_answers = {"refresh_token": Answer(401, {"error": "invalid_client"})}
    step = last(line)
    assert step["reason"] == "refused" and step["remedy"].startswith("check client_id and client_secret")
    a.token_answers = {}
    a.access_token_seconds = 3600
    assert last(line)["ok"]


# Registration


CLOSED = [
    Answer(401, {"error": "invalid_token", "error_description": "an initial access token is required"}),
    Answer(403, {"error": "access_denied", "error_description": "closed to the public"}),
    Answer(403, PAGE),
    Answer(404, PAGE),
    Answer(405, None),
    Answer(400, {"errorCode": "E0000001", "errorSummary": "closed"}),
    Answer(403, {"errorCode": "E0000006", "errorSummary": "You do not have permission"}),
]


@pytest.mark.parametrize("answer", CLOSED, ids=lambda a: f"{a.status} {str(a.body)[:24]}")
def test_a_registration_that_is_closed_wants_a_client(line, pair, answer):
    a, server = pair(registration_judge=lambda asked: answer)
    line.put(user_entry(server))
    port = str(free_port())
    done = line.run("login", "notes", "--no-browser", "--port", port)
    assert done.returncode != 0 and "reason      client_needed" in done.stderr, done.stderr
    assert f"with the redirect URI http://127.0.0.1:{port}" in done.stderr
    if isinstance(answer.body, dict) and "error_description" in answer.body:
        assert answer.body["error_description"] in done.stderr
    assert len(a.requests("register")) == 1, "it is not asked for less"


def refuses(when, error):
    return lambda asked: Answer(400, {"error": error, "error_description": "not that"}) if when(asked) else None


@pytest.mark.parametrize(
    "wants",
    [
        refuses(lambda asked: "offline_access" in asked.get("scope", ""), "invalid_scope"),
        refuses(lambda asked: "offline_access" in asked.get("scope", ""), "invalid_client_metadata"),
        refuses(lambda asked: "scope" in asked, "invalid_client_metadata"),
        refuses(lambda asked: "scope" in asked, "invalid_request"),
    ],
)
def test_a_registration_is_asked_for_less_where_less_is_wanted(line, pair, wants):
    a, server = pair(registration_judge=wants)
    server.metadata = {"scopes_supported": ["mcp:read"]}
    line.put(user_entry(server))
    signed_in(line)
    assert 2 <= len(a.requests("register")) <= 3
    assert a.requests("register")[0].json["scope"] == "mcp:read offline_access"


def test_a_registration_asks_for_the_grants_that_are_announced(line, pair):
    a, server = pair(
        metadata={"grant_types_supported": ["authorization_code"]},
        registration_judge=refuses(lambda asked: "refresh_token" in asked["grant_types"], "invalid_client_metadata"),
    )
    line.put(user_entry(server))
    signed_in(line)
    assert a.requests("register")[0].json["grant_types"] == ["authorization_code"]


# Remedies


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("invalid_request", "check resource and scopes in the entry"),
        ("invalid_scope", "check scopes in the entry"),
        ("invalid_target", "check resource in the entry"),
        ("invalid_client", "check client_id and client_secret"),
        ("unauthorized_client", "let the client use the client credentials grant"),
    ],
)
def test_a_client_that_signs_in_for_itself_is_told_of_no_redirect_uri(line, pair, code, remedy):
    a, server = pair()
    a.add_client("machine", "machine-secret")
    a.token_error = {"error": code, "status": 400}
    line.put(machine_entry(server))
    step = last(line)
    assert remedy in step["remedy"] and "redirect" not in step["remedy"], step
