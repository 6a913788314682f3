"""More kinds of refusals by authorization servers than in `test_refusals.py`: their verdicts and error messages.

The tests use the command line (`doctor`, `login`) and the deployed functions (lists, `/oauth/*`).
"""

import json
import socket
import threading
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.lab import Answer, AuthorizationServer, ProtectedServer, follow
from tests.support import as_user, connect, own_tables, user_entry, wait_for
from tests.support.terminal import Lab, check_failed_login

PAGE = Answer(400, "<!doctype html><h1>Unknown client</h1>")
SECRET = "a-secret+/= %"


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "home")
    yield lab
    lab.stop()
    secrets = {SECRET} | lab.auth.secrets
    assert not [secret for secret in secrets if secret in lab.line.printed]


@pytest.fixture
def port(free_port) -> tuple[str, str]:
    """A port for the same redirect URI each time, so that a stored registration is used again."""
    return ("--port", str(free_port))


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sign_in(lab, *arguments):
    pending = lab.line.start("login", "notes", *arguments)
    pending.open_redirect_uri(follow(pending.url))
    done = pending.done()
    assert done.returncode == 0, done.stderr
    return pending


def refused_at_the_end(lab, reason: str, *arguments):
    """Runs a login that fails after the browser has come back. Returns its output."""
    pending = lab.line.start("login", "notes", *arguments)
    pending.open_redirect_uri(follow(pending.url))
    done = pending.done()
    check_failed_login(done, reason)
    return done.stderr


def stuck_on_a_page(lab, *arguments):
    """Starts a login whose user stays on the authorization server's error page, and ends it."""
    pending = lab.line.start("login", "notes", *arguments)
    with pytest.raises(AssertionError, match="not with a redirect"):
        follow(pending.url)
    pending.stop()
    return pending


def refreshes(lab) -> int:
    return lab.token_requests(grant_type="refresh_token")


def kept(lab, kind: str) -> list[dict]:
    """Returns the items of this kind that the command line has stored."""
    items = json.loads(lab.line.tokens.read_text())
    return [item for key, item in items.items() if key.startswith(f"{kind}#")]


# How a client proves itself


def test_a_server_that_wants_the_client_id_in_the_form_is_signed_in_to_refreshed_and_left(lab):
    """With the behaviour and metadata of the MCP Python SDK's endpoints."""
    lab.auth.wants_client_id_in_form = True
    lab.auth.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.works()
    assert refreshes(lab) >= 1
    assert all(request.form.get("client_id") for request in lab.auth.requests("token"))
    assert not [client for client in lab.auth.clients.values() if client.method != "client_secret_basic"]


@pytest.mark.parametrize(
    ("announced", "registered"),
    [
        (["none", "client_secret_basic", "client_secret_post"], "none"),
        (["client_secret_basic", "client_secret_post"], "client_secret_post"),
        (["client_secret_basic"], "client_secret_basic"),
        (["client_secret_post"], "client_secret_post"),
        (None, "client_secret_basic"),
    ],
)
def test_a_client_registers_as_the_server_offers(lab, announced, registered):
    lab.auth.metadata = {"token_endpoint_auth_methods_supported": announced}
    lab.sign_in()
    [request] = lab.auth.requests("register")
    assert request.json["token_endpoint_auth_method"] == registered
    lab.works()


@pytest.mark.parametrize("announced", [None, ["client_secret_basic"], ["client_secret_basic", "client_secret_post"]])
@pytest.mark.parametrize("kind", ["entry's", "registered", "for itself"])
def test_a_secret_that_goes_by_the_form_alone(lab, announced, kind):
    lab.auth.metadata = {"token_endpoint_auth_methods_supported": announced}
    lab.auth.secret_goes_by = "client_secret_post"
    lab.auth.token_with = {"expires_in": 0}
    if kind == "for itself":
        lab.machine()
    elif kind == "entry's":
        lab.auth.add_client("web", SECRET)
        lab.entry(client_id="web", client_secret=SECRET)
        lab.sign_in()
    else:
        # The registration response does not repeat the method, so the requested one applies.
        lab.auth.registration_with = {"token_endpoint_auth_method": None}
        lab.sign_in()
    lab.works()
    asked = lab.auth.requests("token")
    assert len([request for request in asked if "authorization" in request.headers]) <= 1, "what works is remembered"
    # Another process, which has only the stored items.
    lab.works()
    [last] = lab.auth.requests("token")[-1:]
    assert "authorization" not in last.headers and last.form["client_secret"]


@pytest.mark.parametrize("serves", ["client_secret_basic", "client_secret_post"])
def test_a_secret_that_was_given_is_sent_whatever_method_is_echoed(lab, serves):
    lab.auth.registration_with = {"token_endpoint_auth_method": "none", "client_secret": "given-secret"}
    lab.auth.secret_goes_by = serves
    lab.sign_in()
    lab.auth.token_with = {"expires_in": 0}
    lab.auth.expire_access_tokens()
    lab.works()


def test_a_secret_that_was_given_to_a_public_client_may_be_left_out(lab):
    lab.auth.registration_with = {"token_endpoint_auth_method": "none", "client_secret": "given-secret"}
    lab.sign_in()
    lab.auth.expire_access_tokens()
    lab.works()
    assert len(lab.auth.requests("token", grant_type="refresh_token")) == 1, "it is remembered"


def test_a_refresh_token_is_sent_again_only_where_the_client_was_not_known(lab):
    lab.auth.add_client("web", SECRET)
    lab.entry(client_id="web", client_secret=SECRET)
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    # A gateway's answer, a failed server, another code: the token may have been used.
    for answer in (
        Answer(502, {"error": "invalid_client"}),
        Answer(500, {"error": "invalid_client"}),
        Answer(400, {"error": "invalid_scope"}),
    ):
        before = refreshes(lab)
        lab.auth.token_answers["refresh_token"] = answer
        lab.failure()
        assert refreshes(lab) == before + 1, answer
        lab.auth.token_answers.clear()
        lab.sign_in()
    assert lab.auth.reuses == 0


def test_a_wrong_secret_is_reported_with_the_error_of_the_first_answer(lab):
    lab.auth.add_client("web", SECRET)
    lab.entry(client_id="web", client_secret=f"{SECRET}-wrong")
    said = refused_at_the_end(lab, "refused")
    assert "invalid_client: wrong secret" in said and "client_secret in the entry" in said
    assert lab.token_requests() == 2, "both ways, once each"


# A client that registered itself, and is purged


UNKNOWN = {
    "invalid_client": None,
    "unauthorized_client": Answer(400, {"error": "unauthorized_client"}),
    "a page": PAGE,
    "a page, with 401": Answer(401, PAGE.body),
    "a page, with 200": Answer(200, PAGE.body),
    "another JSON": Answer(403, {"message": "no such application"}),
}


@pytest.mark.parametrize("how", UNKNOWN)
def test_a_purged_client_is_found_out_at_a_refresh_and_registered_anew(lab, port, how):
    lab.auth.unknown_client = UNKNOWN[how]
    lab.auth.token_with = {"expires_in": 0}
    sign_in(lab, *port)
    lab.auth.purge_clients()
    before = refreshes(lab)
    for _ in range(3):
        last = lab.fails("signed_in", "needs_sign_in")
        assert "no longer knows this client" in last["detail"]
        assert "sign in" in last["remedy"] and "client_id" not in last["remedy"]
    assert refreshes(lab) == before + 1
    assert not kept(lab, "client"), "it is dropped for all users"
    sign_in(lab, *port)
    assert len(lab.auth.requests("register")) == 2
    lab.works()


@pytest.mark.parametrize("how", UNKNOWN)
def test_a_purged_client_is_found_out_at_the_exchange_and_registered_anew(lab, port, how):
    lab.auth.unknown_client = UNKNOWN[how]
    lab.auth.authorizes_anybody = True
    sign_in(lab, *port)
    lab.auth.purge_clients()
    reason = "refused" if "client" in how else "authorization_server_failed"
    said = refused_at_the_end(lab, reason, *port)
    assert "a new client is registered then" in said
    sign_in(lab, *port)
    assert len(lab.auth.requests("register")) == 2
    lab.works()


def test_a_user_whom_the_page_does_not_send_back_is_not_stuck(lab, port):
    """No refresh has happened, so the purge is unknown when the page refuses the client."""
    sign_in(lab, *port)
    lab.auth.purge_clients()
    stuck = stuck_on_a_page(lab, *port)
    again = sign_in(lab, *port)
    assert stuck.parameters["client_id"] != again.parameters["client_id"]
    assert len(lab.auth.requests("register")) == 2
    lab.works()


def test_a_user_who_starts_over_and_over_registers_no_crowd_of_clients(lab, port):
    sign_in(lab, *port)
    for _ in range(5):
        lab.line.start("login", "notes", *port).stop()
    assert len(lab.auth.requests("register")) == 2
    sign_in(lab, *port)
    # After a completed sign-in, the client is not in doubt any more.
    for _ in range(2):
        sign_in(lab, *port)
    assert len(lab.auth.requests("register")) == 2


def test_a_redirect_that_says_the_client_is_unknown_registers_anew(lab, port):
    sign_in(lab, *port)
    lab.auth.redirect_with = {"error": "unauthorized_client"}
    said = refused_at_the_end(lab, "refused", *port)
    assert "a new client is registered then" in said
    lab.auth.redirect_with = {}
    sign_in(lab, *port)
    assert len(lab.auth.requests("register")) == 2


def test_a_client_that_was_registered_anew_meanwhile_is_not_dropped(lab, port):
    """The deleted client belongs to another user's grant; the stored one is valid."""
    lab.auth.token_with = {"expires_in": 0}
    sign_in(lab, *port, "--user", "ada")
    [old] = lab.auth.clients
    sign_in(lab, *port, "--register-anew", "--user", "bob")
    del lab.auth.clients[old]
    [report] = lab.line.doctor("--user", "ada")
    assert report["steps"][-1]["reason"] == "needs_sign_in"
    assert kept(lab, "client")
    sign_in(lab, *port, "--user", "ada")
    assert len(lab.auth.requests("register")) == 2


def test_what_an_earlier_version_kept_of_a_purged_client_is_replaced(lab, port):
    """The stored item has neither the client's redirect URI nor a mark that the client registered itself."""
    lab.auth.token_with = {"expires_in": 0}
    sign_in(lab, *port)
    items = json.loads(lab.line.tokens.read_text())
    for key, item in items.items():
        content = json.loads(item["text"]) if key.startswith(("grant#", "client#")) else None
        if content is not None:
            for client in (content, content.get("client") or {}):
                client.pop("redirect_uri", None)
                client.pop("replaced_at", None)
            content.pop("retry_from", None)
            item["text"] = json.dumps(content)
    lab.line.tokens.write_text(json.dumps(items))
    lab.works()
    lab.auth.purge_clients()
    lab.fails("signed_in", "needs_sign_in")
    sign_in(lab, *port)
    assert len(lab.auth.requests("register")) == 2
    lab.works()


def test_a_client_of_the_entry_that_is_not_known_ends_nothing(lab):
    lab.auth.add_client("web", SECRET)
    lab.entry(client_id="web", client_secret=SECRET)
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    client = lab.auth.clients.pop("web")
    last = lab.fails("signed_in", "refused")
    assert "invalid_client" in last["detail"] and "client_secret in the entry" in last["remedy"]
    lab.auth.clients["web"] = client
    lab.works()


# Refresh tokens that are permanently invalid


DEAD = {
    "metabase": Answer(400, {"error": "invalid_request", "error_description": "The token request is invalid."}),
    "github": Answer(200, {"error": "bad_refresh_token", "error_description": "incorrect or expired"}),
    "unsupported": Answer(400, {"error": "unsupported_grant_type"}),
    "expired": Answer(400, {"error": "expired_token"}),
    "microsoft": Answer(400, {"error": "interaction_required"}),
    "forbidden": Answer(403, {"error": "access_denied"}),
    "revoked, with 401": Answer(401, {"error": "invalid_grant"}),
    "revoked, with 500": Answer(500, {"error": "invalid_grant"}),
    "no OAuth": Answer(401, [{"message": "Bad credentials"}]),
    "moved": Answer(307, None, {"location": "/login"}),
}


@pytest.mark.parametrize("client", ["registered", "entry's"])
@pytest.mark.parametrize("how", DEAD)
def test_an_invalid_refresh_token_needs_a_sign_in_whatever_the_error_code(lab, how, client):
    if client == "entry's":
        lab.auth.add_client("web", SECRET)
        lab.entry(client_id="web", client_secret=SECRET)
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.auth.token_answers["refresh_token"] = DEAD[how]
    before = refreshes(lab)
    first = lab.fails("signed_in", "needs_sign_in")
    assert lab.fails("signed_in", "needs_sign_in") == first
    assert "sign in" in first["remedy"]
    # A 401 without a body is about the client. Its secret is then sent with the other method.
    tries = 2 if (how, client) == ("no OAuth", "entry's") else 1
    assert refreshes(lab) == before + tries, "it is not sent every time"
    lab.auth.token_answers.clear()
    lab.sign_in()
    lab.works()


WAITS = {
    "408": Answer(408),
    "429": Answer(429, {"error": "too_many"}),
    "500": Answer(500, {"error": "server_error"}),
    "501": Answer(501, {"error": "server_error"}),
    "503": Answer(503, "<h1>Maintenance</h1>"),
    "busy": Answer(400, {"error": "temporarily_unavailable"}),
    "failed": Answer(400, {"error": "server_error"}),
    "slow down": Answer(400, {"error": "slow_down"}),
    "slow down, with 200": Answer(200, {"error": "slow_down"}),
    "scope": Answer(400, {"error": "invalid_scope"}),
    "target": Answer(400, {"error": "invalid_target"}),
}


@pytest.mark.parametrize("how", WAITS)
def test_a_temporary_refusal_ends_no_sign_in(lab, how):
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.auth.token_answers["refresh_token"] = WAITS[how]
    last = lab.failure()
    assert last["reason"] in ("refused", "authorization_server_failed"), last
    in_entry = "entry" in last["remedy"]
    assert in_entry == (how in ("scope", "target")), last
    lab.auth.token_answers.clear()
    lab.works()
    assert lab.auth.reuses == 0


def due(lab):
    """Makes the refused refresh token due to be tried again."""
    items = json.loads(lab.line.tokens.read_text())
    for key, item in items.items():
        if key.startswith("grant#"):
            content = json.loads(item["text"])
            assert content["retry_from"]
            item["text"] = json.dumps(content | {"retry_from": "2020-01-01T00:00:00Z"})
    lab.line.tokens.write_text(json.dumps(items))


def test_a_server_that_is_mended_heals_a_refused_refresh_without_a_user(lab):
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.auth.token_answers["refresh_token"] = DEAD["metabase"]
    lab.fails("signed_in", "needs_sign_in")
    before = refreshes(lab)
    due(lab)
    for _ in range(2):
        lab.fails("signed_in", "needs_sign_in")
    assert refreshes(lab) == before + 1, "it is tried once more, and then left alone again"
    # A server that cannot answer now changes nothing: the token stays expired and is tried again later.
    due(lab)
    lab.auth.token_answers["refresh_token"] = WAITS["busy"]
    for _ in range(2):
        lab.fails("signed_in", "needs_sign_in")
    assert refreshes(lab) == before + 2
    lab.auth.token_answers.clear()
    lab.fails("signed_in", "needs_sign_in")
    due(lab)
    lab.works()
    assert lab.auth.reuses == 0


def test_a_refresh_that_gives_nothing_readable_needs_a_sign_in_where_tokens_do_not_rotate_too(lab):
    lab.auth.rotates = False
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.works()
    lab.auth.token_answers["refresh_token"] = Answer(200, {"token_type": "Bearer"})
    before = refreshes(lab)
    for _ in range(2):
        lab.fails("signed_in", "needs_sign_in")
    assert refreshes(lab) == before + 1
    lab.auth.token_answers.clear()
    due(lab)
    lab.works()


@pytest.mark.parametrize("how", ["no OAuth", "moved", "revoked, with 401"])
def test_a_refresh_token_that_may_have_been_used_is_never_tried_again(lab, how):
    lab.auth.add_client("web", SECRET)
    lab.entry(client_id="web", client_secret=SECRET)
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.auth.token_answers["refresh_token"] = DEAD[how]
    lab.fails("signed_in", "needs_sign_in")
    [grant] = kept(lab, "grant")
    grant = json.loads(grant["text"])
    assert grant["refresh"] is None and grant["retry_from"] is None


# Registration


CLOSED = {
    "401": (
        Answer(401, {"error": "invalid_token", "error_description": "initial access token needed"}),
        "initial access",
    ),
    "okta": (Answer(403, {"errorCode": "E0000005", "errorSummary": "Invalid session"}), "Invalid session"),
    "keycloak": (
        Answer(403, {"error": "insufficient_scope", "error_description": "Policy rejected"}),
        "Policy rejected",
    ),
    "404": (Answer(404, {"detail": "Not Found"}), "404"),
    "405": (Answer(405, {"message": "Method Not Allowed"}), "405"),
    "page": (Answer(404, "<h1>Not Found</h1>"), "web page"),
    "page, with 200": (Answer(200, "<h1>Welcome</h1>"), "web page"),
    "login": (Answer(302, None, {"location": "/login"}), "302"),
    "no OAuth": (Answer(400, {"message": "registration is disabled"}), "registration is disabled"),
    "another code": (Answer(400, {"error": "access_denied", "error_description": "ask us first"}), "ask us first"),
}


@pytest.mark.parametrize("how", CLOSED)
def test_a_registration_that_is_announced_and_closed_needs_a_client(lab, port, how):
    answer, words = CLOSED[how]
    lab.auth.registration_judge = lambda asked: answer
    done = lab.line.run("login", "notes", "--no-browser", *port)
    fault = check_failed_login(done, "client_needed")
    redirect_uri = f"http://127.0.0.1:{port[1]}/oauth/callback"
    assert words in fault and redirect_uri in fault and lab.auth.issuer in fault
    assert redirect_uri in done.stderr.splitlines()[2], "the remedy can be followed as it stands"


def refuses(status=400, **error):
    return Answer(status, {"error": "invalid_client_metadata"} | error)


@pytest.mark.parametrize(
    "answer",
    [refuses(), refuses(403, error="insufficient_scope"), refuses(error="invalid_scope"), refuses(422, error=None)],
)
def test_a_registration_is_taken_without_offline_access_or_without_scope(lab, answer):
    lab.server.metadata = {"scopes_supported": ["mcp:read"]}
    lab.auth.registration_judge = lambda asked: answer if "offline_access" in asked.get("scope", "") else None
    lab.sign_in()
    assert [request.json.get("scope") for request in lab.auth.requests("register")] == [
        "mcp:read offline_access",
        "mcp:read",
    ]
    lab.auth.registration_judge = lambda asked: answer if "scope" in asked else None
    lab.line.tokens.unlink()
    lab.sign_in()
    assert "scope" not in lab.auth.requests("register")[-1].json
    lab.works()


@pytest.mark.parametrize("announced", [["authorization_code"], ["authorization_code", "client_credentials"]])
def test_only_grants_that_are_announced_are_registered(lab, announced):
    lab.auth.metadata = {"grant_types_supported": announced}
    lab.sign_in()
    [request] = lab.auth.requests("register")
    assert request.json["grant_types"] == ["authorization_code"]


def test_a_server_silent_on_its_grants_is_asked_for_fewer(lab):
    lab.auth.metadata = {"grant_types_supported": None}
    lab.auth.registration_judge = lambda asked: refuses() if "refresh_token" in asked["grant_types"] else None
    lab.sign_in()
    first, *_, last = [request.json["grant_types"] for request in lab.auth.requests("register")]
    assert (first, last) == (["authorization_code", "refresh_token"], ["authorization_code"])


def test_a_server_silent_on_methods_may_take_public_clients_alone(lab):
    lab.auth.metadata = {"token_endpoint_auth_methods_supported": None}
    is_public = "token_endpoint_auth_method"
    lab.auth.registration_judge = lambda asked: None if asked[is_public] == "none" else refuses()
    lab.sign_in()
    lab.works()


def test_a_refused_registration_is_reported_with_the_redirect_uri(lab, port):
    lab.auth.registration_judge = lambda asked: refuses(error="invalid_redirect_uri", error_description="no loopback")
    done = lab.line.run("login", "notes", "--no-browser", *port)
    assert "invalid_redirect_uri: no loopback" in check_failed_login(done, "refused")
    assert f"http://127.0.0.1:{port[1]}/oauth/callback" in done.stderr.splitlines()[2]
    assert len(lab.auth.requests("register")) == 1


def test_a_busy_registration_is_not_closed(lab):
    lab.auth.registration_judge = lambda asked: Answer(503, "<h1>Maintenance</h1>")
    assert "503" in lab.refuses_to_start("authorization_server_failed")
    assert len(lab.auth.requests("register")) == 1


# Remedies


def test_a_client_for_itself_is_told_of_resource_and_scopes_and_of_no_redirect_uri(lab):
    refuses_resource = Answer(400, {"error": "invalid_request", "error_description": "resource is not supported"})
    lab.auth.token_answers["client_credentials"] = refuses_resource
    for fields, says in (
        ({}, ['resource to "omit"', "give scopes"]),
        ({"scopes": "mcp:read"}, ['resource to "omit"', "change scopes"]),
        ({"resource": "omit"}, ["give scopes"]),
        ({"resource": "omit", "scopes": "mcp:read"}, ["change scopes"]),
    ):
        lab.machine(**fields)
        remedy = lab.fails("signed_in", "refused")["remedy"]
        assert all(each in remedy for each in says), remedy
        assert "redirect" not in remedy and "sign in again" not in remedy
        assert ("omit" in remedy) == ("resource" not in fields) and ("give scopes" in remedy) == (
            "scopes" not in fields
        )


# Through the deployed functions


@pytest.fixture
def deployed(backend, world, stands):
    """Starts an MCP server, its authorization server, and a backend with its own table."""
    auth = stands(AuthorizationServer)
    server = stands(ProtectedServer, auth)
    return server, auth, backend([user_entry(server)], **own_tables(world))


def listed(backend, user: str) -> dict:
    [agent] = backend.agents(as_user(user))
    return agent


def connection(backend, user: str) -> dict:
    status, found = backend.http("GET", "/oauth/connections", user=user)
    assert status == 200
    [connection] = found["connections"]
    return connection


def start(backend, user: str) -> str:
    """Starts a sign-in, and returns the client id of the authorization request."""
    status, started = backend.http("POST", "/oauth/start", {"agent_id": "notes"}, user)
    assert status == 200, started
    return dict(parse_qsl(urlsplit(started["authorization_url"]).query))["client_id"]


def test_a_purged_client_is_seen_in_lists_and_connections_and_mended_without_an_admin(deployed):
    server, auth, backend = deployed
    connect(backend, "notes", "ada")
    connect(backend, "notes", "bob")
    assert len(auth.requests("register")) == 1
    assert {listed(backend, user)["status"] for user in ("ada", "bob")} == {"available"}
    auth.purge_clients()
    server.refuse_all()
    for _ in range(2):
        agent = listed(backend, "ada")
        assert (agent["status"], agent["tools"]) == ("needs_sign_in", ["read_notes", "write_notes"])
        assert "no longer knows this client" in agent["status_reason"]
    assert len(auth.requests("token", grant_type="refresh_token")) == 1
    stands = connection(backend, "ada")
    assert stands["status"] == "needs_sign_in" and "no longer knows this client" in stands["reason"]
    # The registration is deleted for all users at once, before another user asks.
    new = start(backend, "carol")
    assert new in auth.clients
    connect(backend, "notes", "ada")
    assert (listed(backend, "ada")["status"], connection(backend, "ada")["status"]) == ("available", "connected")
    assert listed(backend, "bob")["status"] == "needs_sign_in"
    assert start(backend, "bob") == new, "what another user's refresh finds out drops no newer client"
    assert len(auth.requests("register")) == 2


def test_a_client_that_is_purged_at_the_exchange_is_registered_anew_by_the_next_start(deployed):
    _, auth, backend = deployed
    auth.authorizes_anybody = True
    connect(backend, "notes", "ada")
    auth.purge_clients()
    status, started = backend.http("POST", "/oauth/start", {"agent_id": "notes"}, "bob")
    backend.http("GET", "/oauth/callback", user=None, query=follow(started["authorization_url"]))
    status, refused = backend.http("POST", "/oauth/complete", {"state": started["state"]}, "bob")
    assert (status, refused["error"]) == (502, "refused")
    assert "invalid_client" in refused["message"] and "a new client is registered then" in refused["remedy"]
    connect(backend, "notes", "bob")


def test_a_user_whom_the_page_does_not_send_back_gets_another_client(deployed):
    _, auth, backend = deployed
    connect(backend, "notes", "ada")
    auth.purge_clients()
    dead = start(backend, "bob")
    assert dead not in auth.clients
    assert start(backend, "ada") == dead, "one user's start says nothing of another's"
    assert start(backend, "bob") != dead
    connect(backend, "notes", "ada")
    assert len(auth.requests("register")) == 2


@pytest.mark.parametrize("how", ["metabase", "github", "no OAuth"])
def test_a_dead_refresh_token_is_seen_in_lists_and_connections(deployed, how):
    server, auth, backend = deployed
    connect(backend, "notes", "ada")
    assert listed(backend, "ada")["status"] == "available"
    server.refuse_all()
    auth.token_answers["refresh_token"] = DEAD[how]
    for _ in range(2):
        assert listed(backend, "ada")["status"] == "needs_sign_in"
    backend.go_cold()
    agent = listed(backend, "ada")
    assert (agent["status"], agent["tools"]) == ("needs_sign_in", ["read_notes", "write_notes"])
    assert len(auth.requests("token", grant_type="refresh_token")) == 1
    assert connection(backend, "ada")["status"] == "needs_sign_in"
    auth.token_answers.clear()
    connect(backend, "notes", "ada")
    assert listed(backend, "ada")["status"] == "available"


def test_a_refresh_refused_for_scopes_keeps_the_sign_in_and_says_so(deployed):
    server, auth, backend = deployed
    connect(backend, "notes", "ada")
    assert listed(backend, "ada")["status"] == "available"
    server.refuse_all()
    auth.token_answers["refresh_token"] = WAITS["scope"]
    agent = listed(backend, "ada")
    assert agent["status"] == "stale" and "invalid_scope" in agent["status_reason"]
    assert connection(backend, "ada")["status"] == "connected"
    auth.token_answers.clear()
    backend.go_cold()
    assert listed(backend, "ada")["status"] == "available"


def test_a_closed_registration_is_reported_with_the_client_to_register(deployed, world):
    _, auth, backend = deployed
    auth.registration_judge = lambda asked: CLOSED["okta"][0]
    status, refused = backend.http("POST", "/oauth/start", {"agent_id": "notes"}, "ada")
    assert (status, refused["error"]) == (409, "client_needed")
    callback = world.outputs["OAuthCallbackUrl"]
    assert "Invalid session" in refused["message"] and callback in refused["message"]
    assert callback in refused["remedy"] and "client_id" in refused["remedy"]


def test_a_refusal_in_the_redirect_is_shown_on_the_page(deployed):
    _, auth, backend = deployed
    for error, says in (
        ("unauthorized_client", "a new client is registered then"),
        ("invalid_scope", "check scopes in the entry"),
    ):
        auth.redirect_with = {"error": error}
        status, started = backend.http("POST", "/oauth/start", {"agent_id": "notes"}, "ada")
        status, page = backend.http("GET", "/oauth/callback", user=None, query=follow(started["authorization_url"]))
        assert status == 400 and error in page and says in page


def test_what_a_refresh_brings_after_the_sign_in_was_taken_back_is_revoked_too(deployed):
    server, auth, backend = deployed
    connect(backend, "notes", "ada")
    listed(backend, "ada")
    server.refuse_all()
    auth.delays["token"] = 6
    renewing = threading.Thread(target=listed, args=(backend, "ada"))
    renewing.start()
    wait_for(lambda: auth.requests("token", grant_type="refresh_token"))
    assert backend.http("DELETE", "/oauth/notes")[0] in (200, 204)
    renewing.join(timeout=30)
    [old, new] = [request.form["token"] for request in auth.requests("revoke")]
    [refresh] = auth.requests("token", grant_type="refresh_token")
    assert old == refresh.form["refresh_token"] != new
    assert listed(backend, "ada")["status"] == "needs_sign_in"
