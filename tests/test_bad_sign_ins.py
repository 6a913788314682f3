"""Sign-ins that fail: each test checks the reason, the failed step and the remedy, and that no secret is printed.

The tests use the command line: `doctor` if the fault shows before a user signs in, `login` otherwise. The browser is
`follow`; some tests change the parameters of its redirect.
"""

import json
import re
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.lab import Answer, follow
from tests.support import CANARY
from tests.support.terminal import EVIL, PAGE, SECRET, check_failed_login, serve_at

METADATA_SERVICE = "http://169.254.169.254/latest/meta-data"


def test_without_a_fault_both_ways_work(lab):
    """The tests below change one thing each; without a change, both commands succeed."""
    assert lab.fails("signed_in", "needs_sign_in")
    lab.sign_in()
    lab.works()
    lab.machine()
    lab.works()


# Names in metadata


def test_metadata_of_another_resource(lab):
    for resource in (f"{EVIL}/mcp", f"{lab.server.base}/another", lab.server.url.replace("127.0.0.1", "localhost")):
        lab.server.metadata = {"resource": resource}
        assert resource in lab.fails("discovered", "resource_mismatch")["detail"]
    lab.refuses_to_start("resource_mismatch")
    assert lab.auth.seen == [], "an authorization server that is named there is not even asked"


def test_metadata_of_another_issuer(lab):
    for issuer in (EVIL, f"{lab.auth.issuer}/tenant", lab.auth.issuer.replace("127.0.0.1", "localhost")):
        lab.auth.metadata = {"issuer": issuer}
        assert issuer in lab.fails("discovered", "issuer_mismatch")["detail"]
    lab.refuses_to_start("issuer_mismatch")
    assert not lab.auth.requests("register")


@pytest.mark.parametrize("field", ["resource", "authorization_servers"])
def test_metadata_of_a_server_that_lacks_a_field(lab, field):
    lab.server.metadata = {field: None}
    lab.fails("discovered", "metadata_unusable")


@pytest.mark.parametrize("field", ["issuer", "token_endpoint"])
def test_metadata_of_an_authorization_server_that_lacks_a_field(lab, field):
    lab.auth.metadata = {field: None}
    lab.fails("discovered", "metadata_unusable")


def test_an_authorization_server_that_changes_gets_nothing(lab):
    """The issuer is pinned at the first sign-in. Another issuer receives no secret."""
    lab.auth.token_with = {"expires_in": 0}
    lab.machine()
    lab.works()
    # The new server has the same client, so it could use the client's secret.
    other = lab.add_authorization_server()
    other.add_client("machine", SECRET)
    lab.server.authorization_server = other
    last = lab.fails("signed_in", "needs_sign_in")
    assert lab.auth.issuer in last["detail"] and other.issuer in last["detail"]
    assert not other.requests("token")


def test_an_authorization_server_that_changes_gets_no_refresh_token(lab):
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.server.authorization_server = other = lab.add_authorization_server()
    last = lab.fails("signed_in", "needs_sign_in")
    assert lab.auth.issuer in last["detail"] and other.issuer in last["detail"]
    assert not other.requests("token")


def test_a_user_is_not_sent_to_an_authorization_server_that_has_changed(lab):
    lab.auth.add_client("web", SECRET)
    lab.entry(client_id="web", client_secret=SECRET)
    lab.sign_in()
    other = lab.add_authorization_server()
    other.add_client("web", SECRET)
    lab.server.authorization_server = other
    fault = lab.refuses_to_start("issuer_changed")
    assert lab.auth.issuer in fault and other.issuer in fault
    assert not other.requests("token")
    lab.entry(client_id="web", client_secret=SECRET, issuer=other.issuer)
    lab.sign_in()


# Invalid metadata


def test_a_web_page_in_the_place_of_the_servers_metadata(lab):
    lab.server.metadata_answer = PAGE
    assert "HTML" in lab.fails("discovered", "metadata_unusable")["detail"]
    lab.refuses_to_start("metadata_unusable")


def test_a_web_page_in_the_place_of_the_authorization_servers_metadata(lab):
    lab.auth.metadata_answer = PAGE
    assert "HTML" in lab.fails("discovered", "metadata_unusable")["detail"]


def test_a_web_page_at_one_place_does_not_hide_what_is_at_the_next(lab):
    """Single-page applications return their page for every path."""
    lab.server.locations = [lab.server.root]
    serve_at(lab.server, lab.server.inserted, PAGE)
    lab.server.challenge = {"resource_metadata": f"{lab.server.base}{lab.server.inserted}"}
    first, lab.auth.locations = lab.auth.locations[0], lab.auth.locations[1:]
    serve_at(lab.auth, first, PAGE)
    lab.machine()
    lab.works()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "metadata_unusable"),
        ("", "metadata_unusable"),
        ({"resource": 7}, "metadata_unusable"),
        ({"resource": "http://["}, "resource_mismatch"),
    ],
)
def test_metadata_of_a_server_that_is_something_else(lab, body, reason):
    lab.server.metadata_answer = Answer(200, body, {"content-type": "application/json"})
    lab.fails("discovered", reason)


def test_huge_metadata_is_not_read(lab):
    lab.machine()
    for server in (lab.server, lab.auth):
        server.metadata = {"padding": "x" * 100_000}
    lab.works()
    for server in (lab.auth, lab.server):
        server.metadata = {"padding": "x" * 300_000}
        assert "larger than" in lab.fails("discovered", "metadata_unusable")["detail"]


def test_no_metadata_anywhere(lab):
    lab.server.locations, lab.server.challenge = [], {"resource_metadata": None}
    tried = lab.fails("discovered", "no_metadata")["detail"]
    assert f"{lab.server.base}/.well-known/oauth-authorization-server" in tried
    lab.refuses_to_start("no_metadata")


def test_no_metadata_of_the_authorization_server(lab):
    lab.auth.locations = []
    assert lab.auth.issuer in lab.fails("discovered", "no_metadata")["detail"]


def test_metadata_is_asked_for_again_where_the_server_is_busy(lab):
    lab.machine()
    lab.auth.fail("metadata", times=1, status=503)
    lab.auth.fail("metadata", times=1, status=429, headers={"retry-after": "0"})
    lab.works()
    lab.auth.fail("metadata", times=100, status=503)
    last = lab.fails("discovered", "authorization_server_failed")
    assert "503" in last["detail"]


# Addresses


def test_metadata_that_has_moved_to_a_private_address(lab):
    moved = Answer(302, None, {"location": METADATA_SERVICE})
    lab.auth.metadata_answer = moved
    assert "169.254.169.254" in lab.fails("discovered", "address_refused")["detail"]
    lab.auth.metadata_answer, lab.server.metadata_answer = None, moved
    assert "169.254.169.254" in lab.fails("discovered", "address_refused")["detail"]


def test_metadata_that_has_moved_within_reach_is_followed(lab):
    lab.machine()
    [location, elsewhere] = lab.auth.locations
    serve_at(lab.auth, location, Answer(307, None, {"location": elsewhere}))
    lab.works()
    serve_at(lab.auth, elsewhere, Answer(307, None, {"location": location}))
    assert "redirect" in lab.fails("discovered", "metadata_unusable")["detail"]


def test_a_challenge_that_leads_to_a_private_address(lab):
    lab.server.locations = []
    lab.server.challenge = {"resource_metadata": METADATA_SERVICE}
    assert "169.254.169.254" in lab.fails("discovered", "address_refused")["detail"]


def test_an_authorization_server_on_a_private_address(lab):
    lab.server.metadata = {"authorization_servers": ["http://169.254.169.254"]}
    lab.fails("discovered", "address_refused")


# The last ones embed the metadata service's address in another: mapped, compatible, NAT64, 6to4, Teredo.
HIDDEN = [
    "169.254.169.254",
    "2852039166",
    "0xa9.0xfe.0xa9.0xfe",
    "[::ffff:169.254.169.254]",
    "[::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:1:2:3:4:5601:5601]",
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", HIDDEN)
def test_a_token_endpoint_on_a_metadata_address(lab, scheme, host):
    lab.auth.metadata = {"token_endpoint": f"{scheme}://{host}/token"}
    lab.fails("discovered", "address_refused")
    lab.refuses_to_start("address_refused")
    lab.machine()
    lab.fails("discovered", "address_refused")


@pytest.mark.parametrize("endpoint", ["token_endpoint", "registration_endpoint", "authorization_endpoint"])
def test_an_endpoint_on_a_private_address_that_the_policy_leaves_out(lab, endpoint):
    lab.auth.metadata = {endpoint: "https://10.0.0.1/oauth"}
    only_loopback = ("--allow-private", "127.0.0.0/8")
    if endpoint == "authorization_endpoint":
        # A user's browser may open addresses that this program may not.
        lab.fails("signed_in", "needs_sign_in", *only_loopback)
        return
    lab.fails("discovered", "address_refused", *only_loopback)
    done = lab.line.run("login", "notes", "--no-browser", *only_loopback)
    assert "10.0.0.1" in check_failed_login(done, "address_refused")


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)//", "data:text/html,x", "file:///etc/passwd", "http://auth.example.com/authorize"],
)
def test_a_page_that_no_browser_may_be_sent_to(lab, url):
    lab.auth.metadata = {"authorization_endpoint": url}
    lab.fails("discovered", "not_https")
    lab.refuses_to_start("not_https")


def test_a_token_endpoint_without_encryption(lab):
    lab.auth.metadata = {"token_endpoint": "http://192.0.1.1/token"}
    lab.machine()
    lab.fails("discovered", "address_refused")


# What the authorization server offers


@pytest.mark.parametrize("methods", [None, [], ["plain"]])
def test_no_pkce(lab, methods):
    lab.auth.metadata = {"code_challenge_methods_supported": methods}
    assert "S256" in lab.fails("discovered", "pkce_not_supported")["detail"]
    lab.refuses_to_start("pkce_not_supported")
    lab.machine()
    lab.works()


def test_no_client_and_none_may_register(lab):
    lab.auth.registers = False
    fault = lab.refuses_to_start("client_needed")
    assert lab.auth.issuer in fault
    # The message must have the redirect URI, for the person who registers a client.
    done = lab.line.run("login", "notes", "--no-browser", "--port", "8765")
    assert "http://127.0.0.1:8765/oauth/callback" in check_failed_login(done, "client_needed")


def test_a_registration_that_is_refused(lab):
    lab.auth.registration_error = {"error": "invalid_client_metadata", "error_description": "no loopback here"}
    assert "invalid_client_metadata: no loopback here" in lab.refuses_to_start("refused")


@pytest.mark.parametrize("answer", [Answer(201, {"client_name": "without an id"}), Answer(500, "<h1>oh</h1>")])
def test_a_registration_that_is_answered_with_something_else(lab, answer):
    serve_at(lab.auth, "/register", answer)
    fault = lab.refuses_to_start("authorization_server_failed")
    assert "registration" in fault


def test_no_supported_grant_type(lab):
    lab.auth.metadata = {"grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code"]}
    lab.fails("discovered", "not_offered")


# The redirect


def test_an_unknown_state(lab):
    pending = lab.line.start("login", "notes")
    back = follow(pending.url)
    for state in ("another", "", None):
        assert "Nobody waits" in pending.open_redirect_uri(back | {"state": state})
    assert lab.token_requests() == 0
    # A wrong redirect does not prevent the right one from completing the sign-in.
    assert "Nobody waits" not in pending.open_redirect_uri(back)
    assert pending.done().returncode == 0
    assert lab.token_requests() == 1


def test_a_redirect_without_the_iss_that_was_announced(lab):
    assert lab.auth.issuer in lab.refuses("iss_missing", iss=None)
    assert lab.token_requests() == 0
    lab.fails("signed_in", "needs_sign_in")


@pytest.mark.parametrize("announced", [True, False])
def test_a_redirect_from_another_issuer(lab, announced):
    lab.auth.sends_iss = announced
    assert EVIL in lab.refuses("iss_mismatch", iss=EVIL)
    # Compared as a string (RFC 9207, section 2.4), not as a URL.
    lab.refuses("iss_mismatch", iss=f"{lab.auth.issuer}/")
    # An error counts only if it comes from the right issuer.
    assert "access_denied" not in lab.refuses("iss_mismatch", iss=EVIL, code=None, error="access_denied")
    assert lab.token_requests() == 0
    lab.fails("signed_in", "needs_sign_in")


def test_no_iss_where_none_was_announced(lab):
    lab.auth.sends_iss = False
    lab.sign_in()


def test_a_redirect_without_a_code(lab):
    lab.refuses("no_code", code=None)
    lab.refuses("no_code", code="")
    assert lab.token_requests() == 0


def test_a_user_who_says_no(lab):
    words = "not\u001b[2J\u202e today\r\n" + "x" * 5000
    lab.auth.redirect_with = {"error": "access_denied", "error_description": words}
    fault = lab.refuses("refused")
    assert "access_denied: not" in fault
    assert lab.token_requests() == 0


# The token endpoint


def test_a_code_that_has_expired(lab):
    lab.auth.code_seconds = -1
    assert "invalid_grant" in lab.refuses("refused")
    assert lab.token_requests() == 1, "a code is tried once"
    lab.fails("signed_in", "needs_sign_in")


def test_a_grant_that_was_revoked_is_not_tried_in_a_loop(lab):
    # The server accepts it longer than its stated lifetime.
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.works()
    refreshed = lab.token_requests(grant_type="refresh_token")
    lab.auth.revoke_all()
    last = lab.fails("signed_in", "needs_sign_in")
    assert "the grant was revoked" in last["detail"]
    assert lab.token_requests(grant_type="refresh_token") == refreshed + 1
    asked = lab.token_requests()
    assert lab.fails("signed_in", "needs_sign_in")["detail"] == last["detail"]
    assert lab.line.run("tools", "notes").returncode != 0
    assert lab.token_requests() == asked
    lab.auth.token_with = {}
    lab.sign_in()
    lab.works()


def test_a_token_that_the_server_no_longer_takes_is_renewed_once(lab):
    lab.sign_in()
    lab.auth.expire_access_tokens()
    lab.works()
    assert lab.token_requests(grant_type="refresh_token") == 1
    lab.auth.revoke_all()
    last = lab.failure()
    assert last["reason"] == "needs_sign_in" and "the grant was revoked" in last["detail"]
    assert lab.fails("signed_in", "needs_sign_in")
    assert lab.token_requests(grant_type="refresh_token") == 2


def test_a_token_that_the_server_never_takes_is_not_fetched_for_ever(lab):
    lab.machine()
    # The MCP server names our authorization server but accepts none of its tokens.
    stranger = lab.add_authorization_server()
    lab.server.authorization_server = stranger
    lab.server.metadata = {"authorization_servers": [lab.auth.issuer]}
    lab.fails("initialized", "unauthorized")
    assert lab.token_requests() == 2, "one sign-in, and one more after the 401"


def test_a_client_that_is_not_known(lab):
    lab.machine(client_secret=f"{SECRET}-wrong")
    last = lab.fails("signed_in", "refused")
    assert "invalid_client: wrong secret" in last["detail"] and "client_secret" in last["remedy"]
    lab.auth.add_client("web", SECRET)
    lab.entry(client_id="web", client_secret=f"{SECRET}-wrong")
    assert "invalid_client: wrong secret" in lab.refuses("refused")


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_what_a_server_repeats_is_shown_without_secrets(lab, method):
    lab.auth.echoes_secrets = True
    lab.auth.metadata = {"token_endpoint_auth_methods_supported": [method]}
    lab.auth.add_client("machine", SECRET, method)
    lab.entry(grant_type="client_credentials", client_id="machine", client_secret=SECRET, scopes="admin")
    last = lab.fails("signed_in", "refused")
    assert "invalid_scope" in last["detail"] and "scope=admin" in last["detail"]
    assert "[credential]" in last["detail"], "it repeats the request, but not that part of it"
    [request] = lab.auth.requests("token")
    sent = request.body.decode() + request.headers.get("authorization", "")
    for part in re.split(r"[&= ]", sent):
        if "Canary" in part or part.startswith("bWFjaGlu"):
            assert part not in lab.line.printed


def test_what_a_server_repeats_of_a_code_is_not_shown(lab):
    lab.auth.echoes_secrets = True
    lab.auth.code_seconds = -1
    fault = lab.refuses("refused")
    assert "[credential]" in fault


@pytest.mark.parametrize(
    "description",
    [
        "no\u001b[31m red\u0007\r\n\u009b2Jlines \u202ereversed",
        "<script>alert(1)</script><h1>Sorry</h1>",
        "word " * 2000,
        "\U000e0041\u2028\u2029\u200b hidden",
    ],
)
def test_what_a_server_says_cannot_steer_the_terminal(lab, description):
    lab.machine()
    lab.auth.token_error = {"error": "invalid_request", "error_description": description}
    lab.fails("signed_in", "refused")
    text = lab.line.run("doctor").stdout
    assert all(line.isprintable() for line in text.splitlines()) and "\r" not in text
    assert "invalid_request" in text


@pytest.mark.parametrize("error", ["made up\u001b[0m", "x" * 5000])
def test_an_invalid_error_code(lab, error):
    lab.machine()
    lab.auth.token_error = {"error": error}
    lab.fails("signed_in", "refused")


@pytest.mark.parametrize("answer", [Answer(500, "<h1>Internal error</h1>"), Answer(429, {}), Answer(404, PAGE.body)])
def test_a_token_endpoint_that_fails(lab, answer):
    lab.machine()
    serve_at(lab.auth, "/token", answer)
    last = lab.fails("signed_in", "authorization_server_failed")
    assert str(answer.status) in last["detail"] and "token endpoint" in last["detail"]


def test_a_token_endpoint_that_is_busy_for_a_moment(lab):
    lab.machine()
    lab.auth.fail("token", times=1, status=503)
    lab.works()


NO_TOKENS = {
    "a page": (PAGE, "authorization_server_failed"),
    "nothing": (Answer(200), "authorization_server_failed"),
    "no token": (Answer(200, {"token_type": "Bearer"}), "authorization_server_failed"),
    "no text": (Answer(200, {"access_token": "a\nb", "token_type": "Bearer"}), "authorization_server_failed"),
    "not for bearers": (Answer(200, {"access_token": "x", "token_type": "DPoP"}), "token_type"),
    "a refusal all the same": (Answer(200, {"error": "slow_down"}), "refused"),
    "too much": (Answer(200, {"access_token": "x" * 300_000, "token_type": "Bearer"}), "authorization_server_failed"),
}


@pytest.mark.parametrize("case", NO_TOKENS)
def test_a_token_endpoint_that_gives_no_token(lab, case):
    answer, reason = NO_TOKENS[case]
    lab.machine()
    serve_at(lab.auth, "/token", answer)
    lab.fails("signed_in", reason)
    lab.entry()
    lab.refuses(reason)


def test_a_token_endpoint_that_has_moved_is_not_followed(lab):
    """The request body has secrets."""
    other = lab.add_authorization_server()
    lab.machine()
    serve_at(lab.auth, "/token", Answer(307, None, {"location": f"{other.issuer}/token"}))
    assert "307" in lab.fails("signed_in", "authorization_server_failed")["detail"]
    assert other.seen == []


def test_a_lost_answer_to_a_refresh_ends_the_sign_in(lab):
    """The refresh token may have been used. It is never sent again."""
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.auth.lost["token"] = 1
    lab.fails("signed_in", "needs_sign_in")
    lab.fails("signed_in", "needs_sign_in")
    assert lab.auth.reuses == 0


# Private keys


def pem(key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_an_invalid_private_key(lab):
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    lab.auth.add_client("signer", method="private_key_jwt", public_key=public)
    client = {"grant_type": "client_credentials", "client_id": "signer"}
    lab.entry(**client, private_key=pem(key))
    lab.works()
    asked = lab.token_requests()
    broken = pem(key)[:-60] + "-----END PRIVATE KEY-----"
    for wrong in (
        {"private_key": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"},
        {"private_key": CANARY},
        {"private_key": broken},
        {"private_key": pem(key), "signing_algorithm": "RS256"},
        {"private_key": pem(key), "signing_algorithm": "HS256"},
        {"private_key": pem(key), "signing_algorithm": "none"},
    ):
        # With another client id, because the first client's token is still valid.
        lab.entry(**client | {"client_id": "other"}, **wrong)
        assert "PEM" in lab.fails("signed_in", "private_key")["remedy"]
    assert lab.token_requests() == asked
    assert "PRIVATE" not in lab.line.printed and pem(key).splitlines()[1] not in lab.line.printed


# What stays after a failure


def test_a_sign_in_that_fails_leaves_nothing_to_be_used(lab):
    lab.refuses("iss_missing", iss=None)
    kept = json.loads(lab.line.tokens.read_text())
    assert not [key for key in kept if key.startswith(("state#", "grant#"))]
    assert stat.S_IMODE(lab.line.tokens.stat().st_mode) == 0o600
