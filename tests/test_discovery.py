"""Discovery of the authorization server, with faulty metadata documents and with entries that replace them.

A bad document never hides a good one at another place, and fields of the entry take precedence over documents. The
tests use the command line. The last tests are about token responses.
"""

import json
from urllib.parse import parse_qsl, urlencode

import pytest

from tests.lab import Answer, AuthorizationServer, ProtectedServer, follow
from tests.lab.loopback import Request
from tests.support.terminal import EVIL, PAGE, SECRET, Lab, check_failed_login, serve_at

# A port that no process listens on fails at once. A resolver needs time for a name that does not exist.
NOWHERE = "https://127.0.0.1:1"
TEMPLATE = f"{NOWHERE}/{{tenantid}}/v2.0"


def put(server, **members):
    """Sets the members of the server's metadata, including null and empty ones."""
    usual = server.answer

    def answer(request: Request):
        answer = usual(request)
        if request.endpoint == "metadata" and answer and isinstance(answer.body, dict):
            answer.body = answer.body | members
        return answer

    server.answer = answer


# An unusable document counts as missing

SERVERS_FAULTS = {
    "another resource": Answer(200, {"resource": f"{EVIL}/mcp", "authorization_servers": [EVIL]}),
    "a resource that is no text": Answer(200, {"resource": 7, "authorization_servers": [EVIL]}),
    "no authorization servers": Answer(200, {"resource": None}),
    "a list": Answer(200, []),
    "a page": PAGE,
    "nothing": Answer(200),
    "not there": Answer(404, "<h1>Not Found</h1>"),
    "forbidden": Answer(403, {"error": "forbidden"}),
    "broken": Answer(500, "<h1>oh</h1>"),
}


@pytest.mark.parametrize("fault", SERVERS_FAULTS)
def test_a_bad_document_of_the_server_hides_none_at_the_next_place(lab, fault):
    lab.server.locations = [lab.server.inserted, lab.server.root]
    lab.server.challenge = {"resource_metadata": f"{lab.server.base}{lab.server.inserted}"}
    serve_at(lab.server, lab.server.inserted, SERVERS_FAULTS[fault])
    lab.machine()
    lab.works()


ISSUERS_FAULTS = {
    "another issuer": {"issuer": EVIL, "token_endpoint": f"{EVIL}/token"},
    "no issuer": {"token_endpoint": f"{EVIL}/token"},
    "no token endpoint": {"token_endpoint": None},
    "a token endpoint that is no URL": {"token_endpoint": "/token"},
    "nothing on offer": {
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code"],
        "authorization_endpoint": None,
    },
}


@pytest.mark.parametrize("fault", ISSUERS_FAULTS)
def test_a_bad_document_of_the_authorization_server_hides_none_at_the_next_place(lab, fault):
    bad = {"issuer": lab.auth.issuer} | ISSUERS_FAULTS[fault]
    if fault == "no issuer":
        del bad["issuer"]
    lab.auth.add_client("known", SECRET)
    lab.entry(client_id="known", client_secret=SECRET)
    serve_at(lab.auth, lab.auth.locations[0], Answer(200, bad))
    lab.sign_in()
    lab.works()


def test_a_document_without_pkce_hides_none_that_has_it(lab):
    serve_at(
        lab.auth,
        lab.auth.locations[0],
        Answer(
            200,
            {
                "issuer": lab.auth.issuer,
                "authorization_endpoint": f"{lab.auth.issuer}/authorize",
                "token_endpoint": f"{lab.auth.issuer}/token",
            },
        ),
    )
    lab.sign_in()
    lab.works()


def test_if_no_document_is_valid_the_mismatch_is_reported(lab):
    """A document with another issuer is a better explanation than an HTML page at another place."""
    lab.server.locations = [lab.server.root]
    serve_at(lab.server, lab.server.inserted, PAGE)
    lab.server.metadata = {"resource": f"{EVIL}/mcp"}
    assert EVIL in lab.fails("discovered", "resource_mismatch")["detail"]
    lab.server.metadata = {}
    serve_at(lab.auth, lab.auth.locations[0], PAGE)
    lab.auth.metadata = {"issuer": EVIL}
    assert EVIL in lab.fails("discovered", "issuer_mismatch")["detail"]


# Members

OPTIONAL = {
    "server": {
        "scopes_supported": [None, "", [], "mcp:read", 7, {}],
        "bearer_methods_supported": [None, 7],
        "resource_signing_alg_values_supported": [None],
        "resource_name": [None, 7],
    },
    "authorization server": {
        "scopes_supported": [None, "", [], 7, [None, 7]],
        "registration_endpoint": [None, "", 7, "/register", "http://["],
        "revocation_endpoint": [None, "", 7, "/revoke"],
        "grant_types_supported": [None, "", [], 7],
        "token_endpoint_auth_methods_supported": [None, "", [], 7],
        "client_id_metadata_document_supported": [None, "", "true", 1],
        "authorization_response_iss_parameter_supported": [None, "", []],
        "jwks_uri": [None, 7],
    },
}
MEMBERS = [
    (whose, member, value)
    for whose, members in OPTIONAL.items()
    for member, values in members.items()
    for value in values
]


@pytest.mark.parametrize(("whose", "member", "value"), MEMBERS, ids=lambda part: json.dumps(part))
def test_an_optional_member_that_is_null_empty_or_garbled_is_left_out(lab, whose, member, value):
    lab.auth.add_client("known")
    lab.entry(client_id="known")
    put(lab.server if whose == "server" else lab.auth, **{member: value})
    lab.sign_in()
    lab.works()


@pytest.mark.parametrize("garbled", [7, "", None, [], "not a URL"])
@pytest.mark.parametrize(
    ("whose", "member"),
    [
        ("server", "resource"),
        ("server", "authorization_servers"),
        ("authorization server", "issuer"),
        ("authorization server", "token_endpoint"),
        ("authorization server", "authorization_endpoint"),
    ],
)
def test_a_needed_member_that_is_garbled_is_named(lab, whose, member, garbled):
    put(lab.server if whose == "server" else lab.auth, **{member: garbled})
    expected = {"resource": "resource_mismatch", "issuer": "issuer_mismatch"}.get(member, "metadata_unusable")
    is_not_given = member == "authorization_endpoint" and garbled in ("", None)
    if is_not_given:
        # Without an authorization endpoint only a client can sign in for itself, and no client is known.
        lab.fails("signed_in", "needs_sign_in")
        lab.refuses_to_start("not_offered")
    elif garbled == "not a URL" and member in ("resource", "issuer"):
        assert "not a URL" in lab.fails("discovered", expected)["detail"]
    else:
        assert f"a usable {member}" in lab.fails("discovered", "metadata_unusable")["detail"]


def test_a_byte_order_mark_hides_no_document(lab):
    for server, path in ((lab.server, lab.server.inserted), (lab.auth, lab.auth.locations[0])):
        request = Request("GET", path, {}, b"")
        text = "\ufeff" + json.dumps(server.answer(request).body)
        serve_at(server, path, Answer(200, text, {"content-type": "application/json; charset=utf-8"}))
    lab.machine()
    lab.works()


# Several authorization servers


def no_page(other: AuthorizationServer):
    other.metadata = {"authorization_endpoint": None, "grant_types_supported": ["password"]}


FIRST = {
    "is not there": lambda other: other.stop(),
    "has no document": lambda other: setattr(other, "locations", []),
    "has a page for a document": lambda other: setattr(other, "metadata_answer", PAGE),
    "names another issuer": lambda other: setattr(other, "metadata", {"issuer": EVIL}),
    "lacks a token endpoint": lambda other: setattr(other, "metadata", {"token_endpoint": None}),
    "announces no PKCE": lambda other: setattr(other, "metadata", {"code_challenge_methods_supported": None}),
    "lets no client register": lambda other: setattr(other, "registers", False),
    "has nothing on offer": no_page,
    "leads to a metadata address": lambda other: setattr(
        other, "metadata", {"token_endpoint": "http://169.254.169.254/t"}
    ),
    "hangs": lambda other: other.delays.update(metadata=6),
    "is busy": lambda other: other.fail("metadata", times=100),
}


@pytest.mark.parametrize("fault", FIRST)
def test_the_second_authorization_server_is_used_where_the_first_cannot_be(lab, fault):
    first = lab.add_authorization_server()
    FIRST[fault](first)
    lab.server.metadata = {"authorization_servers": [first.issuer, lab.auth.issuer]}
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    assert not first.requests("token") and not first.requests("register") and not first.requests("authorize")
    lab.works()
    # It stays in use when the first one works again: a grant belongs to one authorization server.
    first.metadata, first.registers, first.delays = {}, True, {}
    lab.works()
    assert not first.requests("token")


CLOSED = Answer(403, {"error": "access_denied", "error_description": "registration is by invitation"})


def test_the_second_authorization_server_is_used_where_the_first_announces_registration_and_registers_nobody(lab):
    first = lab.add_authorization_server(registration_answer=CLOSED)
    lab.server.metadata = {"authorization_servers": [first.issuer, lab.auth.issuer]}
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    assert not first.requests("token") and not first.requests("authorize")
    lab.works()
    assert lab.token_requests(grant_type="refresh_token")


def test_if_no_authorization_server_allows_registration_the_first_is_reported_and_the_others_are_named(lab):
    second = lab.add_authorization_server(registration_answer=Answer(403, "<h1>Forbidden</h1>"))
    lab.auth.registration_answer = CLOSED
    lab.server.metadata = {"authorization_servers": [lab.auth.issuer, second.issuer]}
    done = lab.line.run("login", "notes", "--no-browser")
    said = check_failed_login(done, "client_needed")
    assert (
        "registration is by invitation" in said
        and f"authorization servers {second.issuer}, which cannot be used" in said
    )
    assert f"as issuer in the entry: {second.issuer}" in done.stderr
    assert "register a client at the authorization server with the redirect URI http://127.0.0.1:" in done.stderr
    # If the entry names one authorization server, no other is asked or named.
    second.seen.clear()
    lab.entry(issuer=lab.auth.issuer)
    assert second.issuer not in lab.refuses_to_start("client_needed")
    assert not second.seen


def test_the_first_authorization_server_that_works_is_used(lab):
    other = lab.add_authorization_server()
    lab.server.metadata = {"authorization_servers": [lab.auth.issuer, other.issuer]}
    lab.sign_in()
    assert not other.seen


def test_if_no_authorization_server_works_the_first_fault_is_reported_and_the_others_are_named(lab):
    second, third = lab.add_authorization_server(), lab.add_authorization_server()
    lab.auth.metadata = {"code_challenge_methods_supported": None}
    second.locations = third.locations = []
    lab.server.metadata = {"authorization_servers": [lab.auth.issuer, second.issuer, third.issuer]}
    last = lab.fails("discovered", "pkce_not_supported")
    assert f"also names the authorization servers {second.issuer}, {third.issuer}" in last["detail"]
    assert "authorization_url" in last["remedy"] and f"as issuer in the entry: {second.issuer}" in last["remedy"]
    assert second.issuer in lab.refuses_to_start("pkce_not_supported")


def test_an_entrys_secret_goes_to_no_second_authorization_server(lab):
    """The secret belongs to one of them, and only the entry can say which."""
    first = lab.add_authorization_server(locations=[])
    lab.machine()
    lab.server.metadata = {"authorization_servers": [first.issuer, lab.auth.issuer]}
    last = lab.fails("discovered", "no_metadata")
    assert lab.auth.issuer in last["detail"] and f"issuer in the entry: {lab.auth.issuer}" in last["remedy"]
    assert not lab.auth.seen
    # The remedy, followed literally.
    lab.machine(issuer=lab.auth.issuer)
    lab.works()


def test_a_pinned_authorization_server_that_is_out_of_order_gives_way_to_no_other(lab):
    second = lab.add_authorization_server()
    second.add_client("machine", SECRET)
    lab.auth.token_with = {"expires_in": 0}
    lab.machine()
    lab.server.metadata = {"authorization_servers": [lab.auth.issuer, second.issuer]}
    lab.works()
    lab.auth.locations = []
    lab.failure()
    assert not second.requests("token")


def test_of_very_many_authorization_servers_only_some_are_asked(lab):
    many = [lab.add_authorization_server(locations=[]) for _ in range(8)]
    lab.server.metadata = {"authorization_servers": [each.issuer for each in many]}
    lab.fails("discovered", "no_metadata")
    assert len([each for each in many if each.seen]) == 5


def test_an_authorization_server_that_is_no_url_hides_no_other(lab):
    lab.server.metadata = {"authorization_servers": ["example", lab.auth.issuer, lab.auth.issuer]}
    lab.machine()
    lab.works()


# The entry takes precedence


def own_urls(auth) -> dict:
    return {"authorization_url": f"{auth.issuer}/authorize", "token_url": f"{auth.issuer}/token"}


def test_pkce_need_not_be_announced_where_the_entry_names_the_page(lab):
    lab.auth.metadata = {"code_challenge_methods_supported": None, "scopes_supported": None}
    urls = own_urls(lab.auth)
    for fields in ({"issuer": lab.auth.issuer} | urls, urls, {"authorization_url": urls["authorization_url"]}):
        lab.auth.add_client("known")
        lab.entry(client_id="known", **fields)
        lab.sign_in()
        lab.works()
    assert all(asked.query["code_challenge_method"] == "S256" for asked in lab.auth.requests("authorize"))


def test_the_remedy_for_pkce_can_be_followed(lab):
    lab.auth.metadata = {"code_challenge_methods_supported": None}
    assert "give authorization_url in the entry" in lab.fails("discovered", "pkce_not_supported")["remedy"]
    lab.entry(authorization_url=f"{lab.auth.issuer}/authorize")
    lab.sign_in()


def test_with_both_urls_scopes_and_resource_come_from_the_metadata(lab):
    lab.auth.add_client("known")
    lab.auth.scopes.append("mcp:special")
    lab.server.metadata = {"scopes_supported": ["mcp:special"], "resource": f"{lab.server.base}/"}
    for fields in ({}, {"issuer": lab.auth.issuer}):
        lab.entry(client_id="known", **own_urls(lab.auth), **fields)
        lab.sign_in()
        asked = lab.auth.requests("authorize")[-1].query
        assert asked["scope"].split() == ["mcp:special", "offline_access"], "what lets us refresh, if it is on offer"
        assert asked["resource"] == f"{lab.server.base}/"
    lab.entry(client_id="known", **own_urls(lab.auth), scopes="mcp:read", resource="omit")
    lab.sign_in()
    asked = lab.auth.requests("authorize")[-1].query
    assert asked["scope"] == "mcp:read" and "resource" not in asked


BROKEN = {
    "nothing": lambda lab: (setattr(lab.server, "locations", []), setattr(lab.auth, "locations", [])),
    "pages": lambda lab: (setattr(lab.server, "metadata_answer", PAGE), setattr(lab.auth, "metadata_answer", PAGE)),
    "others": lambda lab: (
        # The server would expect tokens for the wrong name in its metadata.
        setattr(lab.server, "checks_audience", False),
        setattr(lab.server, "metadata", {"resource": f"{EVIL}/mcp"}),
        setattr(lab.auth, "metadata", {"issuer": EVIL}),
    ),
    "broken": lambda lab: (
        lab.auth.fail("metadata", times=1000),
        setattr(lab.server, "metadata_answer", Answer(503, {})),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("names_issuer", [True, False])
def test_both_urls_serve_without_any_metadata(lab, fault, names_issuer):
    BROKEN[fault](lab)
    lab.auth.add_client("known")
    lab.entry(client_id="known", **own_urls(lab.auth), **({"issuer": lab.auth.issuer} if names_issuer else {}))
    lab.sign_in()
    lab.works()
    lab.machine(token_url=f"{lab.auth.issuer}/token")
    lab.works()


def test_documents_that_come_and_go_cost_no_sign_in_where_both_urls_are_given(lab):
    lab.auth.add_client("known")
    lab.auth.token_with = {"expires_in": 0}
    for fields in ({}, {"issuer": lab.auth.issuer}):
        lab.entry(client_id="known", **own_urls(lab.auth), **fields)
        lab.sign_in()
        lab.auth.locations, locations = [], lab.auth.locations
        lab.works()
        lab.auth.locations = locations
        lab.works()


def test_scopes_of_another_authorization_server_are_not_asked_for(lab):
    """A document is trusted only for its own issuer."""
    other = lab.add_authorization_server()
    lab.auth.add_client("known")
    lab.server.metadata = {"scopes_supported": ["mcp:read"], "authorization_servers": [other.issuer]}
    lab.entry(client_id="known", **own_urls(lab.auth))
    lab.sign_in()
    assert lab.auth.requests("authorize")[-1].query["scope"] == "mcp:read"


@pytest.mark.parametrize("issuer", [f"{NOWHERE}/tenant/", TEMPLATE])
def test_the_entrys_issuer_may_be_that_of_a_document_at_another_address(lab, issuer):
    lab.auth.metadata = {"issuer": issuer}
    assert issuer in lab.fails("discovered", "issuer_mismatch")["detail"]
    lab.machine(issuer=issuer)
    lab.works()
    lab.auth.sends_iss = False
    lab.auth.add_client("known")
    lab.entry(client_id="known", issuer=issuer)
    lab.sign_in()
    lab.works()


def test_such_an_address_is_remembered(lab):
    """Only the document itself claims the issuer, so after the first sign-in no other address receives secrets."""
    lab.auth.metadata = {"issuer": f"{NOWHERE}/"}
    lab.auth.token_with = {"expires_in": 0}
    lab.machine(issuer=f"{NOWHERE}/")
    lab.works()
    other = lab.add_authorization_server(metadata={"issuer": f"{NOWHERE}/"})
    other.add_client("machine", SECRET)
    lab.server.metadata = {"authorization_servers": [other.issuer]}
    assert other.issuer in lab.fails("signed_in", "needs_sign_in")["detail"]
    assert not other.requests("token")
    lab.line.tokens.unlink()
    lab.server.metadata = {}
    lab.works()


def test_an_issuer_with_a_document_of_its_own_is_spoken_for_by_no_other(lab):
    other = lab.add_authorization_server(metadata={"issuer": lab.auth.issuer})
    other.add_client("machine", SECRET)
    lab.server.metadata = {"authorization_servers": [other.issuer]}
    lab.machine(issuer=lab.auth.issuer)
    lab.works()
    assert not other.seen
    for fault in ({"token_endpoint": None}, {"token_endpoint": "http://169.254.169.254/"}):
        lab.auth.metadata = fault
        lab.failure()
    lab.auth.metadata = {}
    lab.auth.fail("metadata", times=1000)
    lab.failure()
    assert not other.requests("token")


def test_a_template_for_an_issuer_has_a_remedy_of_its_own(lab):
    lab.auth.metadata = {"issuer": TEMPLATE}
    last = lab.fails("discovered", "issuer_mismatch")
    assert "is a template" in last["remedy"] and TEMPLATE in last["remedy"] and "issuer in the entry" in last["remedy"]


# Resource and iss


@pytest.mark.parametrize("path", ["/tenant/mcp", "/tenant/mcp/", "/mcp?key=1"])
def test_a_resource_may_be_a_parent_or_differ_by_a_slash(tmp_path, path):
    lab = Lab(tmp_path / "another")
    try:
        lab.others.append(server := ProtectedServer(lab.auth, path))
        server.secrets = set()
        bare = path.split("?")[0]
        for resource in (bare, f"{bare}/", bare.rstrip("/"), "/tenant" if "tenant" in path else "/", ""):
            server.metadata = {"resource": f"{server.base}{resource}"}
            lab.machine(mcp_url=server.url)
            lab.works()
            assert lab.auth.requests("token")[-1].form["resource"] == f"{server.base}{resource}"
            lab.line.tokens.unlink()
        for resource in (f"{bare}/deeper", "/tenan", "/another"):
            server.metadata = {"resource": f"{server.base}{resource}"}
            lab.fails("discovered", "resource_mismatch")
    finally:
        lab.stop()


def test_an_iss_that_differs_by_the_slash_has_a_remedy_that_works(lab):
    lab.auth.redirect_with = {"iss": f"{lab.auth.issuer}/"}
    pending = lab.line.start("login", "notes")
    pending.open_redirect_uri(follow(pending.url))
    said = pending.done().stderr
    assert "iss_mismatch" in said and f"give issuer in the entry exactly as {lab.auth.issuer}/" in said
    lab.entry(issuer=f"{lab.auth.issuer}/")
    lab.sign_in()
    lab.works()
    # Still compared as strings: a third spelling is refused.
    lab.auth.redirect_with = {"iss": f"{lab.auth.issuer}//"}
    lab.refuses("iss_mismatch")


def test_query_parameters_of_the_entrys_authorization_url_take_precedence(lab):
    lab.auth.add_client("known")
    page = f"{lab.auth.issuer}/authorize?access_type=offline&prompt=login&state=old&client_id=old"
    lab.entry(client_id="known", authorization_url=page, scopes="mcp:read offline_access")
    pending = lab.line.start("login", "notes")
    pairs = parse_qsl(pending.url.split("?", 1)[1])
    assert len(pairs) == len(dict(pairs)), "no parameter twice"
    asked = dict(pairs)
    assert asked["prompt"] == "login" and asked["access_type"] == "offline" and asked["client_id"] == "known"
    pending.open_redirect_uri(follow(pending.url))
    assert pending.done().returncode == 0


# Token answers


def answers_with(auth, change):
    """Changes the token endpoint's responses to grants."""
    usual = auth.answer

    def answer(request: Request):
        answer = usual(request)
        return change(answer) if request.endpoint == "token" and answer else answer

    auth.answer = answer


FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def as_slack(answer: Answer) -> Answer:
    if answer.status == 200:
        user = answer.body | {"id": "U1", "token_type": "user", "scope": answer.body["scope"].replace(" ", ",")}
        bot = {"access_token": "xoxb-of-the-bot", "token_type": "bot", "scope": "chat:write"}
        return Answer(200, {"ok": True, "app_id": "A1"} | bot | {"authed_user": user})
    return Answer(200, {"ok": False, "error": answer.body["error"]})


def as_github(answer: Answer) -> Answer:
    return Answer(200, urlencode(answer.body), FORM)


AGENT_FIELDS = {
    "under authed_user": as_slack,
    "a form": as_github,
    "type user": lambda answer: Answer(answer.status, answer.body | {"token_type": "user"}),
    "type of its own": lambda answer: Answer(answer.status, answer.body | {"token_type": "JWT"}),
    "scopes in a list": lambda answer: Answer(answer.status, answer.body | {"scope": ["mcp:read"]}),
    "nulls": lambda answer: Answer(
        answer.status, answer.body | {"scope": None, "token_type": None, "error": None, "id_token": None}
    ),
    "empty": lambda answer: Answer(answer.status, answer.body | {"scope": "", "token_type": "", "error": ""}),
}


@pytest.mark.parametrize("shape", AGENT_FIELDS)
def test_tokens_are_taken_in_every_form_that_servers_give_them_in(lab, shape):
    answers_with(lab.auth, lambda answer: AGENT_FIELDS[shape](answer) if answer.status == 200 else answer)
    lab.auth.token_with = {"expires_in": 0}
    lab.sign_in()
    lab.works()
    assert lab.token_requests(grant_type="refresh_token")


@pytest.mark.parametrize("shape", ["under authed_user", "a form"])
def test_a_refusal_in_an_unusual_form_is_reported(lab, shape):
    answers_with(lab.auth, AGENT_FIELDS[shape])
    lab.auth.token_error = {"error": "bad_verification_code"}
    assert "bad_verification_code" in lab.refuses("refused")


@pytest.mark.parametrize("kind", ["DPoP", "pop", "MAC", "N_A"])
def test_a_proof_of_possession_token_is_not_used_as_a_bearer_token(lab, kind):
    lab.auth.token_with = {"token_type": kind}
    lab.machine()
    lab.fails("signed_in", "token_type")
