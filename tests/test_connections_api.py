"""The connections API: users' sign-ins, over the deployed gateway and with events of API Gateway."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime
from urllib.parse import urlencode, urlsplit

import pytest

from local.processes import TARGET
from tests.lab import Answer, AuthorizationServer, ProtectedServer, follow
from tests.support import (
    Api,
    Backend,
    as_user,
    at_once,
    callback_path,
    connect,
    own_tables,
    samples,
    sign_up,
    user_entry,
)

SECRET = "mcp-agents/external-mcp-agents/credentials"
EVIL = "https://evil.example.com"
AGENT = "shelf"  # that no other test knows: the deployed functions remember agents for a minute


# Over the gateway, on the stack's own secret and table


@pytest.fixture(scope="module")
def notes(world):
    """Writes one agent that users sign in to into the stack's secret. Returns its authorization server."""
    # The stack's table still has items of earlier servers on the same port, so each server has a new path.
    a = AuthorizationServer(f"/{uuid.uuid4().hex}")
    server = ProtectedServer(a, f"/{uuid.uuid4().hex}/mcp")
    entries = [{"mcp_url": server.url, "auth_type": "oauth2", "agent_name": AGENT}]
    world.secrets.put_secret_value(SecretId=SECRET, SecretString=json.dumps(entries))
    yield a
    server.stop()
    a.stop()


@pytest.fixture(scope="module")
def alice(world, notes):
    return sign_up(world, "alice", "Author")


@pytest.fixture(scope="module")
def mallory(world, notes):
    return sign_up(world, "mallory", "Viewer")


def browse(world, path: str):
    """Opens a URL as a browser does, without a token. Returns the status, the page and the headers."""
    api = Api(world, None)
    request = urllib.request.Request(f"{api.base}{path}", headers={"host": api.host})
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read().decode(), answer.headers


def started(api, agent_id=AGENT, **fields) -> dict:
    status, answer = api.send("POST", "/oauth/start", {"agent_id": agent_id} | fields)
    assert status == 200, answer
    return answer


def test_a_sign_in_from_start_to_its_end(world, alice, notes):
    before = time.time()
    start = started(alice)
    assert set(start) == {"agent_id", "authorization_url", "state", "expires_at"}
    expires = datetime.fromisoformat(start["expires_at"]).timestamp()
    assert before + 599 <= expires <= time.time() + 601
    back = follow(start["authorization_url"])
    status, page, headers = browse(world, f"/oauth/callback?{urlencode(back)}")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert alice.user in page and back["code"] not in page
    assert "default-src 'none'" in headers["content-security-policy"] and headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert not notes.requests("token"), "nothing is exchanged for whoever brings a browser"
    assert alice.send("POST", "/oauth/complete", {"state": start["state"]}) == (
        200,
        {"agent_id": AGENT, "status": "connected"},
    )
    [connection] = alice.send("GET", "/oauth/connections")[1]["connections"]
    assert connection == {
        "agent_id": AGENT,
        "status": "connected",
        "reason": None,
        "owner": "me",
        "issuer": notes.issuer,
        "scopes": ["mcp:read"],
    }
    [token] = [request.form for request in notes.requests("token")]
    assert alice.send("DELETE", f"/oauth/{AGENT}") == (204, None)
    [revoked] = notes.requests("revoke")
    assert revoked.form["client_id"] == token["client_id"] and revoked.form["token"].startswith("refresh-")
    assert alice.send("DELETE", f"/oauth/{AGENT}")[0] == 404
    [connection] = alice.send("GET", "/oauth/connections")[1]["connections"]
    assert (connection["status"], connection["reason"]) == ("needs_sign_in", "nobody has signed in yet")


ROUTES = [
    ("POST", "/oauth/start", {"agent_id": AGENT}),
    ("POST", "/oauth/complete", {"state": "x"}),
    ("POST", "/oauth/regenerate", {"agent_id": AGENT}),
    ("GET", "/oauth/connections", None),
    ("DELETE", f"/oauth/{AGENT}", None),
    ("DELETE", f"/oauth?agent_id={AGENT}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_every_route_wants_a_token_and_a_group(world, alice, method, path, body):
    for token in (None, "garbage", alice.token[:-4] + "AAAA"):
        assert Api(world, token).send(method, path, body)[0] == 401, token
    status, error = sign_up(world, "guest", None).send(method, path, body)
    assert (status, error["error"]) == (403, "forbidden")


def test_the_callback_and_the_clients_document_want_no_token(world, notes):
    assert browse(world, "/oauth/callback?state=x&code=y")[0] == 400
    status, document, headers = browse(world, "/oauth/client-metadata.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    document = json.loads(document)
    callback = world.outputs["OAuthCallbackUrl"]
    assert document["client_id"] == callback.replace("/callback", "/client-metadata.json")
    assert document["redirect_uris"] == [callback]
    assert document["token_endpoint_auth_method"] == "none" and "client_secret" not in document
    assert set(document["grant_types"]) == {"authorization_code", "refresh_token"}


def test_a_second_user_who_finishes_the_link_is_refused_and_so_is_the_first_then(world, alice, mallory, notes):
    start = started(alice)
    browse(world, f"/oauth/callback?{urlencode(follow(start['authorization_url']))}")
    before = len(notes.requests("token"))
    status, error = mallory.send("POST", "/oauth/complete", {"state": start["state"]})
    assert (status, error["error"]) == (403, "other_user")
    status, error = alice.send("POST", "/oauth/complete", {"state": start["state"]})
    assert (status, error["error"]) == (400, "state_mismatch")
    assert len(notes.requests("token")) == before


def test_only_an_administrator_signs_in_for_everybody(world, alice):
    for method, path, body in (
        ("POST", "/oauth/start", {"agent_id": AGENT, "owner": "everybody"}),
        ("POST", "/oauth/regenerate", {"agent_id": AGENT, "owner": "everybody"}),
        ("DELETE", f"/oauth/{AGENT}?owner=everybody", None),
    ):
        status, error = alice.send(method, path, body)
        assert (status, error["error"]) == (403, "forbidden") and "Admin" in error["message"]
    assert started(sign_up(world, "root", "Admin"), owner="everybody")["state"]


# With events of API Gateway, on the test's own secret and table


class Signing(Backend):
    """A backend with the agent `notes`, which may reach loopback only, its authorization server and its MCP server."""

    def __init__(self, world, *entries, **steered):
        self.authorization_server = AuthorizationServer(**steered)
        self.server = ProtectedServer(self.authorization_server)
        self.entry = {"mcp_url": self.server.url, "auth_type": "oauth2", "agent_name": "notes"}
        # Its own tables, because ports are reused. No tool cache, so each list asks the servers.
        tables = dict.fromkeys(("CONNECTIONS_TABLE", "CATALOG_TABLE"), world.table())
        options = {"TOOL_CACHE_TTL_SECONDS": "0.001", "ALLOW_PRIVATE_MCP_SERVERS": "127.0.0.0/8"}
        super().__init__(world, [self.entry, *entries], tables | options)

    def steer(self, **steered):
        """Changes settings of the authorization server."""
        vars(self.authorization_server).update(steered)

    def stop(self):
        self.server.stop()
        self.authorization_server.stop()
        super().stop()


@pytest.fixture
def signing(world):
    """Creates a `Signing` for one test: `signing(*entries, **steered)`."""
    made = []

    def make(*entries, **steered):
        made.append(Signing(world, *entries, **steered))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture(scope="module")
def everyones(world):
    keyed = {"mcp_url": world.server().url, "auth_type": "api_key", "credentials": "abc", "agent_name": "keyed"}
    made = Signing(world, keyed)
    yield made
    made.stop()


@pytest.fixture
def shared(everyones):
    """One that tests share which leave nothing behind; what they steer is put right after each."""
    a, server = everyones.authorization_server, everyones.server
    before = [dict(vars(each)) for each in (a, server)]
    yield everyones
    for each, right in zip((a, server), before, strict=True):
        vars(each).update(right)


def start(signing, user="ada", **fields) -> dict:
    status, answer = signing.http("POST", "/oauth/start", {"agent_id": "notes"} | fields, user)
    assert status == 200, answer
    return answer


def complete(signing, state, user="ada"):
    return signing.http("POST", "/oauth/complete", {"state": state}, user)


def open_redirect_uri(signing, query):
    return signing.http("GET", "/oauth/callback", user=None, query=query)


def refusal(answered) -> tuple[int, str]:
    status, body = answered
    assert set(body) - {"errors"} == {"error", "message", "remedy"} and body["message"] and body["remedy"]
    return status, body["error"]


def kinds(signing) -> list[str]:
    """Returns the reasons why sign-ins were refused, from the log. The pages show text for users only."""
    return [event["error.kind"] for event in signing.log_events("External MCP: a sign-in was not taken in")]


def items(signing) -> list[dict]:
    return signing.world.dynamodb.scan(TableName=signing.environment["CONNECTIONS_TABLE"])["Items"]


def states(signing) -> list[dict]:
    return [item for item in items(signing) if item["PK"]["S"].startswith("state#")]


def test_a_state_is_random_and_is_stored_nowhere(signing):
    signing = signing()
    first, second = start(signing), start(signing)
    assert first["state"] != second["state"] and min(len(first["state"]), len(second["state"])) >= 43
    assert first["authorization_url"] != second["authorization_url"]
    assert len(states(signing)) == 2
    kept = repr(items(signing)) + "\n".join(signing.log_lines())
    assert first["state"] not in kept and second["state"] not in kept


def test_a_state_is_good_for_one_callback_and_one_completion(signing):
    signing = signing()
    state = start(signing)
    assert refusal(complete(signing, state["state"])) == (409, "not_yet")
    back = follow(state["authorization_url"])
    assert open_redirect_uri(signing, back)[0] == 200
    status, page = open_redirect_uri(signing, back)
    assert status == 400 and "nobody waits for this sign-in" in page
    assert kinds(signing) == ["state_mismatch"]
    assert complete(signing, state["state"]) == (200, {"agent_id": "notes", "status": "connected"})
    assert refusal(complete(signing, state["state"])) == (400, "state_mismatch")
    assert len(signing.authorization_server.requests("token")) == 1
    assert states(signing) == []


def test_of_completions_at_once_one_exchanges_the_code(signing):
    signing = signing()
    state = start(signing)
    open_redirect_uri(signing, follow(state["authorization_url"]))
    outcomes = at_once(4, lambda: complete(signing, state["state"]))
    assert sorted(status for status, _ in outcomes) == [200, 400, 400, 400]
    assert {body.get("error") for status, body in outcomes if status == 400} == {"state_mismatch"}
    assert len(signing.authorization_server.requests("token")) == 1


def test_a_sign_in_is_bound_to_who_started_it(signing):
    signing = signing()
    state = start(signing, "ada")
    open_redirect_uri(signing, follow(state["authorization_url"]))
    assert refusal(complete(signing, state["state"], "mallory")) == (403, "other_user")
    assert refusal(complete(signing, state["state"], "ada")) == (400, "state_mismatch"), "it is used up"
    assert not signing.authorization_server.requests("token")
    assert [agent["status"] for user in ("ada", "mallory") for agent in signing.agents(as_user(user))] == [
        "needs_sign_in"
    ] * 2


@pytest.mark.parametrize("came_back", [False, True])
def test_a_state_is_over_after_ten_minutes(signing, came_back):
    signing = signing()
    before = time.time()
    state = start(signing)
    back = follow(state["authorization_url"])
    if came_back:
        open_redirect_uri(signing, back)
    [item] = states(signing)
    assert before + 599 <= int(item["ExpiresAfter"]["N"]) <= time.time() + 601
    signing.world.dynamodb.update_item(
        TableName=signing.environment["CONNECTIONS_TABLE"],
        Key={"PK": item["PK"]},
        UpdateExpression="SET ExpiresAfter = :past",
        ExpressionAttributeValues={":past": {"N": str(int(time.time()) - 1)}},
    )
    if came_back:
        assert refusal(complete(signing, state["state"])) == (400, "state_mismatch")
    else:
        assert open_redirect_uri(signing, back)[0] == 400 and kinds(signing) == ["state_mismatch"]
    assert not signing.authorization_server.requests("token")


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"iss": EVIL}, "iss_mismatch", f"comes from the issuer {EVIL}, not from "),
        ({"iss": "{iss}/"}, "iss_mismatch", "comes from the issuer "),
        ({"iss": None}, "iss_missing", "names no issuer although "),
        ({"iss": None, "error": "access_denied"}, "iss_missing", "names no issuer although "),
        ({"iss": EVIL, "error": "access_denied"}, "iss_mismatch", "comes from the issuer "),
        ({"code": None}, "no_code", "holds no code"),
        ({"code": ""}, "no_code", "holds no code"),
        ({"error": "access_denied", "error_description": "no"}, "refused", "refused with access_denied: no"),
        ({"error": "<script>alert(1)</script>"}, "refused", "refused with &lt;script&gt;alert(1)&lt;/script&gt;"),
        (
            {"error": "access_denied", "error_description": "\"'><img src=x onerror=alert(1)>"},
            "refused",
            "access_denied: &quot;&#39;&gt;&lt;img src=x onerror=alert(1)&gt;",
        ),
    ],
)
def test_a_redirect_that_is_wrong_is_refused_and_uses_its_state_up(shared, change, kind, said):
    before = len(shared.authorization_server.requests("token"))
    state = start(shared)
    back = follow(state["authorization_url"])
    changed = back | {name: value and value.replace("{iss}", back["iss"]) for name, value in change.items()}
    status, page = open_redirect_uri(shared, {name: value for name, value in changed.items() if value is not None})
    assert (status, kinds(shared)[-1]) == (400, kind)
    assert said in page and "<script" not in page and "<img" not in page
    assert open_redirect_uri(shared, back)[0] == 400, "the right one comes too late"
    assert refusal(complete(shared, state["state"])) == (400, "state_mismatch")
    assert len(shared.authorization_server.requests("token")) == before


@pytest.mark.parametrize("query", [{}, {"code": "x"}, {"state": "", "code": "x"}, {"state": "x" * 43, "code": "x"}])
def test_a_redirect_with_an_unknown_state_is_refused(shared, query):
    assert open_redirect_uri(shared, query)[0] == 400 and kinds(shared)[-1] == "state_mismatch"
    assert refusal(complete(shared, "x" * 43)) == (400, "state_mismatch")


def test_an_issuer_that_is_not_announced_need_not_be_named_but_must_be_right(signing):
    signing = signing(sends_iss=False)
    connect(signing, "notes")
    started = start(signing)
    back = follow(started["authorization_url"])
    assert "iss" not in back
    answer = signing.http("GET", callback_path(started), user=None, query=back | {"iss": EVIL})
    assert answer[0] == 400 and kinds(signing) == ["iss_mismatch"]


def test_a_client_has_an_address_of_its_own_at_a_server_that_does_not_say_who_it_is(signing):
    """Otherwise a server could receive the code of another one (mix-up attack, RFC 9700, section 4.4)."""
    signing = signing(sends_iss=False)
    callback = urlsplit(signing.world.outputs["OAuthCallbackUrl"]).path
    started = start(signing)
    [registration] = signing.authorization_server.requests("register")
    [address] = [urlsplit(uri).path for uri in registration.json["redirect_uris"]]
    assert address == callback_path(started) and re.fullmatch(f"{callback}/[0-9a-f]{{16}}", address)
    for wrong in (callback, f"{callback}/{'0' * 16}"):
        back = follow(start(signing)["authorization_url"])
        assert signing.http("GET", wrong, user=None, query=back)[0] == 400
        assert kinds(signing)[-1] == "iss_mismatch"
        assert complete(signing, back["state"])[0] == 400, "its state is used up"
    connect(signing, "notes")


def test_what_is_sent_with_the_user(signing):
    signing = signing()
    start(signing)
    [request] = [signing.authorization_server.seen[-1]]
    assert request.endpoint == "register"
    follow(start(signing)["authorization_url"])
    [asked] = signing.authorization_server.requests("authorize")
    assert asked.query["response_type"] == "code" and asked.query["code_challenge_method"] == "S256"
    assert asked.query["redirect_uri"] == signing.world.outputs["OAuthCallbackUrl"] == request.json["redirect_uris"][0]
    assert asked.query["resource"] == signing.server.url
    assert "code_verifier" not in asked.query and "scope" not in asked.query


METADATA = {
    "no PKCE": ({"code_challenge_methods_supported": None}, "pkce_not_supported"),
    "plain PKCE": ({"code_challenge_methods_supported": ["plain"]}, "pkce_not_supported"),
    "a script": ({"authorization_endpoint": "javascript:alert(1)"}, "not_https"),
    "a page of data": ({"authorization_endpoint": "data:text/html,x"}, "not_https"),
    "http elsewhere": ({"authorization_endpoint": "http://sign-in.example.com/authorize"}, "not_https"),
    "http on what is not loopback": (
        {"authorization_endpoint": "http://127.0.0.1.evil.example/authorize"},
        "not_https",
    ),
    "no page": ({"authorization_endpoint": None}, "not_offered"),
    "another issuer": ({"issuer": EVIL}, "issuer_mismatch"),
    "no token endpoint": ({"token_endpoint": None}, "metadata_unusable"),
    "a private address": ({"token_endpoint": "https://10.0.0.1/token"}, "address_refused"),
    "a metadata address": ({"token_endpoint": "http://169.254.169.254/token"}, "address_refused"),
    "a mapped address": ({"token_endpoint": "https://[::ffff:169.254.169.254]/token"}, "address_refused"),
    "a NAT64 address": ({"token_endpoint": "https://[64:ff9b::a9fe:a9fe]/token"}, "address_refused"),
    "a 6to4 address": ({"token_endpoint": "https://[2002:a9fe:a9fe::1]/token"}, "address_refused"),
}


@pytest.mark.parametrize(("metadata", "error"), METADATA.values(), ids=METADATA.keys())
def test_no_user_is_sent_to_an_invalid_authorization_server(shared, metadata, error):
    before = len(states(shared))
    shared.steer(metadata=metadata)
    assert refusal(shared.http("POST", "/oauth/start", {"agent_id": "notes"})) == (502, error)
    assert len(states(shared)) == before


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, "<html>hello</html>"), "metadata_unusable"),
        (Answer(200, {"hello": "world"}), "metadata_unusable"),
        (Answer(200, {"issuer": "x" * 300_000}), "metadata_unusable"),
        (Answer(503, "<h1>Busy</h1>", {"retry-after": "0"}), "authorization_server_failed"),
        (Answer(302, None, {"location": "http://169.254.169.254/latest/meta-data"}), "address_refused"),
        (Answer(404), "no_metadata"),
    ],
)
def test_missing_and_invalid_metadata_are_distinguished(shared, answer, error):
    shared.steer(metadata_answer=answer)
    assert refusal(shared.http("POST", "/oauth/start", {"agent_id": "notes"})) == (502, error)


def test_a_server_whose_metadata_is_for_another_resource_is_refused(shared):
    before = len(shared.authorization_server.seen)
    shared.server.metadata = {"resource": f"{EVIL}/mcp"}
    assert refusal(shared.http("POST", "/oauth/start", {"agent_id": "notes"})) == (502, "resource_mismatch")
    assert len(shared.authorization_server.seen) == before


def test_an_authorization_server_that_is_down_is_reported(signing):
    signing = signing()
    signing.authorization_server.stop()
    answered = signing.http("POST", "/oauth/start", {"agent_id": "notes"})
    assert refusal(answered) == (502, "authorization_server_unreachable")


def test_a_silent_authorization_server_is_reported_before_the_functions_timeout(signing):
    signing = signing(delays={"metadata": 5.0})
    signing.function("ConnectionsApiFunctionArn", timeout=3)
    assert refusal(signing.http("POST", "/oauth/start", {"agent_id": "notes"})) == (504, "timeout")


def test_a_failed_registration_is_reported_with_its_reason(signing):
    refused = {"error": "invalid_client_metadata", "error_description": "no"}
    signing = signing(registration_error=refused)
    answered = signing.http("POST", "/oauth/start", {"agent_id": "notes"})
    assert refusal(answered) == (502, "refused") and "invalid_client_metadata: no" in answered[1]["message"]
    signing.steer(metadata={"registration_endpoint": "http://169.254.169.254/"})
    assert refusal(signing.http("POST", "/oauth/start", {"agent_id": "notes"})) == (502, "address_refused")
    signing.steer(metadata={}, registers=False)
    answered = signing.http("POST", "/oauth/start", {"agent_id": "notes"})
    assert refusal(answered) == (409, "client_needed")
    assert signing.world.outputs["OAuthCallbackUrl"] in answered[1]["message"]


@pytest.mark.parametrize(
    ("steered", "error", "said"),
    [
        (
            {"code_seconds": -1.0},
            "refused",
            "the token endpoint refused with invalid_grant: the code is unknown or over",
        ),
        ({"token_with": {"token_type": "mac"}}, "token_type", "a token of the type mac"),
        ({"token_with": {"access_token": None}}, "authorization_server_failed", "without a usable access_token"),
        ({"token_error": {"error": "server_error", "status": 500}}, "refused", "refused with server_error"),
        ({"lost": {"token": 1}}, "authorization_server_unreachable", "was not reached"),
    ],
)
def test_a_failed_code_exchange_is_reported_and_not_repeated(shared, steered, error, said):
    before = len(shared.authorization_server.requests("token"))
    state = start(shared)
    shared.steer(**steered)
    open_redirect_uri(shared, follow(state["authorization_url"]))
    answered = complete(shared, state["state"])
    assert refusal(answered) == (502, error) and said in answered[1]["message"]
    assert refusal(complete(shared, state["state"])) == (400, "state_mismatch")
    assert len(shared.authorization_server.requests("token")) == before + 1
    [connection] = shared.http("GET", "/oauth/connections")[1]["connections"]
    assert (connection["agent_id"], connection["status"]) == ("notes", "needs_sign_in")


@pytest.mark.parametrize("step", ["start", "regenerate"])
def test_agents_that_cannot_be_signed_in_to_are_distinguished(shared, step):
    before = len(shared.authorization_server.seen)

    def ask(body, **who):
        return refusal(shared.http("POST", f"/oauth/{step}", body, **who))

    assert ask({"agent_id": "nobody"}) == (404, "not_found")
    assert ask({"agent_id": "keyed"}) == (409, "not_oauth")
    assert ask({}) == (400, "invalid_request")
    assert ask({"agent_id": 7}) == (400, "invalid_request")
    assert ask([]) == (400, "invalid_request")
    assert ask("not JSON") == (400, "invalid_request")
    assert ask({"agent_id": "notes", "owner": "grace"}) == (400, "invalid_request")
    assert ask({"agent_id": "notes", "owner": "everybody"}) == (403, "forbidden")
    assert ask({"agent_id": "notes"}, user=None) == (401, "unauthenticated")
    assert ask({"agent_id": "notes"}, group="Guest") == (403, "forbidden")
    assert len(shared.authorization_server.seen) == before


def test_other_routes_and_methods_are_not_there(shared):
    for method, path in (
        ("GET", "/oauth/start"),
        ("POST", "/oauth/callback"),
        ("GET", "/oauth"),
        ("PUT", "/oauth/notes"),
    ):
        assert refusal(shared.http(method, path, {})) == (405, "method_not_allowed"), path
    assert refusal(shared.http("GET", "/elsewhere")) == (404, "not_found")
    assert refusal(shared.http("DELETE", "/oauth/notes")) == (404, "not_found")
    assert refusal(shared.http("POST", "/oauth/complete", {})) == (400, "invalid_request")


def test_an_agent_added_within_the_minute_is_found(signing):
    signing = signing()
    start(signing)
    signing.put_secret([signing.entry | {"agent_name": "newcomer"}])
    assert start(signing, agent_id="newcomer")["agent_id"] == "newcomer"


def test_taking_a_sign_in_back_revokes_it_and_nobody_elses(signing):
    signing = signing()
    connect(signing, "notes", "ada")
    connect(signing, "notes", "grace")
    tokens = {user: agent_token(signing, user) for user in ("ada", "grace")}
    a = signing.authorization_server
    assert signing.http("DELETE", "/oauth/notes", user="ada") == (204, None)
    [revoked] = a.requests("revoke")
    assert revoked.form["token"].startswith("refresh-")
    assert [a.introspect(tokens[user])["active"] for user in ("ada", "grace")] == [False, True]
    signing.go_cold()
    assert [signing.agents(as_user(user))[0]["status"] for user in ("ada", "grace")] == ["needs_sign_in", "available"]
    assert refusal(signing.http("DELETE", "/oauth/notes", user="ada")) == (404, "not_found")


def agent_token(signing, user) -> str:
    """Returns the access token that a user's list has used."""
    assert signing.agents(as_user(user))[0]["status"] == "available"
    return signing.server.requests("tools/list")[-1].bearer


def test_an_id_with_slashes_is_taken_back_by_path_and_by_query(signing):
    signing = signing()
    signing.put_secret([signing.entry | {"agent_name": "notes/of/all"}])
    for path, query in (
        ("/oauth/notes/of/all", {}),
        ("/oauth/notes%2Fof%2Fall/", {}),
        ("/oauth", {"agent_id": "notes/of/all"}),
    ):
        connect(signing, "notes/of/all")
        assert signing.http("DELETE", path, query=query) == (204, None), path
        assert refusal(signing.http("DELETE", path, query=query)) == (404, "not_found")
    assert refusal(signing.http("DELETE", "/oauth")) == (400, "invalid_request")


def test_a_sign_in_can_be_deleted_if_the_server_cannot_revoke(signing):
    for steered in ({"metadata": {"revocation_endpoint": None}}, {}):
        leaving = signing(**steered)
        connect(leaving, "notes")
        if not steered:
            leaving.authorization_server.stop()
        assert leaving.http("DELETE", "/oauth/notes") == (204, None)
        assert [agent["status"] for agent in leaving.agents(as_user("ada"))] == ["needs_sign_in"]


def test_everybodys_sign_in_is_taken_back_by_an_administrator_alone(signing):
    signing = signing()
    connect(signing, "notes", "root", group="Admin", owner="everybody")
    everybody = {"owner": "everybody"}
    assert refusal(signing.http("DELETE", "/oauth/notes", user="ada", query=everybody)) == (403, "forbidden")
    assert refusal(signing.http("DELETE", "/oauth/notes", user="ada")) == (404, "not_found")
    [connection] = signing.http("GET", "/oauth/connections", user="ada")[1]["connections"]
    assert (connection["status"], connection["owner"]) == ("connected", "everybody")
    assert signing.http("DELETE", "/oauth/notes", user="root", group="Admin", query=everybody) == (204, None)
    assert [agent["status"] for agent in signing.agents(as_user("ada"))] == ["needs_sign_in"]


def test_regenerating_replaces_what_is_kept_and_an_administrator_registers_anew(signing):
    """A client that registered itself is shared by all users."""
    signing = signing()
    a = signing.authorization_server
    connect(signing, "notes")
    first = agent_token(signing, "ada")
    for group, registrations in (("Author", 1), ("Admin", 2)):
        status, again = signing.http("POST", "/oauth/regenerate", {"agent_id": "notes"}, group=group)
        assert status == 200 and set(again) == {"agent_id", "authorization_url", "state", "expires_at"}
        assert len(a.requests("register")) == registrations
        open_redirect_uri(signing, follow(again["authorization_url"]))
        assert complete(signing, again["state"])[0] == 200
    assert len({request.query["client_id"] for request in a.requests("authorize")}) == 2
    signing.go_cold()
    assert agent_token(signing, "ada") != first


@pytest.mark.parametrize("named", [True, False])
def test_regenerating_a_clients_own_token_is_done_at_once_by_an_administrator(signing, named):
    only_clients = {"grant_types_supported": ["client_credentials"], "authorization_endpoint": None}
    signing = signing(metadata={} if named else only_clients)
    a = signing.authorization_server
    a.add_client("machine", "machine-secret")
    grant = {"grant_type": "client_credentials"} if named else {}
    client = {"client_id": "machine", "client_secret": "machine-secret"}
    signing.put_secret([signing.entry | client | grant])
    [agent] = signing.agents()
    assert agent["status"] == "available"
    answered = signing.http("POST", "/oauth/regenerate", {"agent_id": "notes"})
    assert refusal(answered) == (403, "forbidden") and len(a.requests("token")) == 1
    answered = signing.http("POST", "/oauth/regenerate", {"agent_id": "notes"}, group="Admin")
    assert answered == (200, {"agent_id": "notes", "status": "connected"})
    assert len(a.requests("token")) == 2


def test_a_server_that_names_another_authorization_server_gets_no_clients_secret(signing):
    signing, moved = signing(), AuthorizationServer()
    a = signing.authorization_server
    a.add_client("ours", "our-secret")
    client = {"client_id": "ours", "client_secret": "our-secret"}
    signing.put_secret([signing.entry | client])
    connect(signing, "notes")
    with moved:
        signing.server.metadata = {"authorization_servers": [moved.issuer]}
        for step in ("start", "regenerate"):
            answered = signing.http("POST", f"/oauth/{step}", {"agent_id": "notes"})
            assert refusal(answered) == (409, "issuer_changed")
            assert f"{moved.issuer}, where it was {a.issuer}" in answered[1]["message"]
        assert {request.endpoint for request in moved.seen} == {"metadata"}


def test_connections_show_the_callers_sign_ins_only(signing, world):
    signing = signing({"mcp_url": world.server().url, "agent_name": "open"})
    connect(signing, "notes", "ada")
    ada, grace = (signing.http("GET", "/oauth/connections", user=user)[1]["connections"] for user in ("ada", "grace"))
    assert [(each["agent_id"], each["status"]) for each in ada] == [("notes", "connected")]
    assert grace == [{"agent_id": "notes", "status": "needs_sign_in", "reason": "nobody has signed in yet"}]
    for user, expected in (("ada", "available"), ("grace", "needs_sign_in")):
        agents = signing.resolve("listAvailableAgents", identity=as_user(user)["identity"])
        assert agents[0]["status"] == expected, "the jobs API's list is the user's own as well"
    assert signing.agents(as_user("ada"))[0]["status"] == "available"
    signing.authorization_server.revoke_all()
    assert signing.agents(as_user("ada"))[0]["status"] == "needs_sign_in"
    [connection] = signing.http("GET", "/oauth/connections", user="ada")[1]["connections"]
    assert connection["status"] == "needs_sign_in" and "the grant was revoked" in connection["reason"]


def test_sample_events_are_answered_as_their_names_say(shared):
    answers = {
        case: shared.invoke("ConnectionsApiFunctionArn", event) for case, event in samples("connections-api").items()
    }
    assert {case: answer["statusCode"] for case, answer in answers.items()} == {
        "start": 404,
        "callback": 400,
        "complete": 400,
        "regenerate": 404,
        "delete": 404,
    }


# The page that waits for a sign-in


APP = "https://app.example.com"


def callback_page(backend: Backend, user: str, **fields) -> dict:
    """Starts a sign-in with these fields. Returns the callback's status, headers and page."""
    status, start = backend.http("POST", "/oauth/start", {"agent_id": "notes"} | fields, user)
    assert status == 200, start
    query = follow(start["authorization_url"])
    context = {"stage": "$default", "http": {"method": "GET", "path": "/oauth/callback"}}
    event = {"rawPath": callback_path(start), "rawQueryString": urlencode(query), "requestContext": context}
    return backend.invoke("ConnectionsApiFunctionArn", event)


@pytest.fixture
def waited_for(backend, world, stands):
    """A backend with one agent that users sign in to, and with one allowed origin."""
    server = stands(ProtectedServer, stands(AuthorizationServer))
    tables = own_tables(world)
    return backend([user_entry(server)], OAUTH_ALLOWED_ORIGINS=f"http://localhost:3000,{APP}", **tables)


def test_the_page_speaks_to_the_named_origin_alone(waited_for):
    page = callback_page(waited_for, "ada", origin=APP)
    assert page["statusCode"] == 200 and f'data-origin="{APP}"' in page["body"]
    # The page and its opener must be able to reach each other.
    assert "cross-origin-opener-policy" not in page["headers"]
    assert page["body"].count("postMessage(") == 2
    assert "postMessage(message, origin)" in page["body"] and "BroadcastChannel" in page["body"]


@pytest.mark.parametrize("origin", [APP, None])
def test_the_script_tells_its_own_origin_and_no_other_than_the_named_one(waited_for, origin):
    page = callback_page(waited_for, "ada", **({"origin": origin} if origin else {}))["body"]
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL).group(1)
    data = {
        name: re.search(f'data-{name}="([^"]*)"', page).group(1) for name in ("state", *(["origin"] if origin else []))
    }
    browser = """
      const said = [];
      const page = {
        history: {replaceState: (...call) => said.push(["address", call[2]])},
        location: {pathname: "/oauth/callback"},
        document: {body: {dataset: DATA}},
        window: {opener: {postMessage: (message, origin) => said.push([origin, message])}},
        BroadcastChannel: class {
          constructor(name) { this.name = name }
          postMessage(message) { said.push([this.name, message]) }
        },
      };
      require("vm").runInNewContext(SCRIPT, page);
      console.log(JSON.stringify(said));
    """.replace("DATA", json.dumps(data)).replace("SCRIPT", json.dumps(script))
    node = subprocess.run([TARGET / "tools" / "node" / "bin" / "node", "-e", browser], capture_output=True, text=True)
    message = {"type": "mcp-agents.oauth", "state": data["state"]}
    told = [["address", "/oauth/callback"], ["mcp-agents.oauth", message]] + ([[APP, message]] if origin else [])
    assert json.loads(node.stdout) == told, node.stderr


def test_without_an_origin_the_page_is_cut_off_from_its_opener(waited_for):
    page = callback_page(waited_for, "ada")
    assert page["headers"]["cross-origin-opener-policy"] == "same-origin"
    assert "data-origin" not in page["body"]
    for word in ("localStorage", "sessionStorage", '"*"', "fetch("):
        assert word not in page["body"]
    assert "connect-src" not in page["headers"]["content-security-policy"]


@pytest.mark.parametrize("origin", [EVIL, "*", "", f"{APP}/", f"{APP}:8443", "http://app.example.com", "null"])
def test_an_origin_that_is_not_named_is_refused_at_the_start(waited_for, origin):
    for step in ("start", "regenerate"):
        status, error = waited_for.http("POST", f"/oauth/{step}", {"agent_id": "notes", "origin": origin})
        assert (status, error["error"]) == (400, "origin_not_allowed")
        assert "OAuthAllowedOrigins" in error["remedy"]


def test_an_origin_that_is_no_text_is_a_wrong_field(shared):
    status, error = shared.http("POST", "/oauth/start", {"agent_id": "notes", "origin": 7})
    assert (status, error["error"]) == (400, "invalid_request") and "origin" in error["errors"]


def test_no_origin_is_allowed_unless_the_stack_names_it(alice):
    status, error = alice.send("POST", "/oauth/start", {"agent_id": AGENT, "origin": APP})
    assert (status, error["error"]) == (400, "origin_not_allowed")
