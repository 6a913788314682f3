"""Clients that sign in for themselves."""

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.lab import AuthorizationServer, ProtectedServer
from tests.lab.jwt import unverified_claims
from tests.signing_in.steps import KEY, READ, WRITE, called, guarded, listed, listed_cold, statuses
from tests.support import CANARY, machine_entry, wait_for

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
    agents = backend(*[machine_entry(each, client_secret=secret) for each in servers]).agents()
    for agent, server, (announced, method) in zip(agents, servers, BY_METADATA, strict=True):
        assert (agent["status"], agent["tools"]) == ("available", [READ, WRITE]), announced
        [request] = server.authorization_server.requests("token")
        assert ("authorization" in request.headers) == (method == "client_secret_basic")
        assert ("client_secret" in request.form) == (method == "client_secret_post")


def test_a_client_signs_an_assertion(backend, stands):
    """Each kind of key has a default algorithm; the entry can name another."""
    a = stands(AuthorizationServer)
    keys = {"ec": ec.generate_private_key(ec.SECP256R1()), "rsa": rsa.generate_private_key(65537, 2048)}
    entries = []
    for kind, algorithm in (("ec", None), ("ec", "ES256"), ("rsa", None), ("rsa", "PS256")):
        client, key = f"{kind}-{algorithm}", keys[kind]
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        a.add_client(client, method="private_key_jwt", public_key=public)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        proof = {"client_id": client, "client_secret": None, "private_key": pem, "signing_algorithm": algorithm}
        entries.append(machine_entry(stands(ProtectedServer, a), **proof, agent_name=client))
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


def test_resource_and_audience_are_sent_as_the_entry_says(backend, stands):
    servers = [guarded(stands, server={"checks_audience": False})[0] for _ in SAID]
    agents = backend(*[machine_entry(each, **fields) for each, (fields, _) in zip(servers, SAID, strict=True)]).agents()
    assert [agent["status"] for agent in agents] == ["available"] * len(SAID)
    for server, (fields, sent) in zip(servers, SAID, strict=True):
        [request] = server.authorization_server.requests("token")
        right = {"grant_type": "client_credentials", "client_id": "machine", "resource": server.url} | sent
        assert request.form == {name: value for name, value in right.items() if value is not None}, fields


def test_a_key_in_the_servers_query_goes_to_no_authorization_server(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    # The server's metadata has the same URL, with the key in the query.
    server = stands(ProtectedServer, a, f"/mcp?api_key={KEY}", checks_audience=False)
    assert listed(backend(machine_entry(server)))["status"] == "available"
    [request] = a.requests("token")
    assert request.form["resource"] == server.url.split("?")[0]
    assert not [each for each in a.seen if KEY in each.path or KEY in each.body.decode()]


def test_another_resource_is_accepted_if_the_entry_names_it(backend, stands):
    name = "https://notes.example.com/mcp"
    server, a = guarded(stands, server={"metadata": {"resource": name}})
    named, unnamed = backend(machine_entry(server, resource=name)), backend(machine_entry(server))
    assert listed(named)["status"] == "available"
    assert listed(unnamed)["status"] == "unavailable"
    assert [request.form["resource"] for request in a.requests("token")] == [name]


def test_scopes_come_from_the_challenge_then_from_what_the_server_supports(backend, stands):
    server, a = guarded(stands, server={"metadata": {"scopes_supported": ["mcp:write"]}})
    assert listed(backend(machine_entry(server)))["status"] == "available"
    server.challenge = {"scope": "mcp:read"}
    assert listed(backend(machine_entry(server)))["status"] == "available"
    assert [request.form["scope"] for request in a.requests("token")] == ["mcp:write", "mcp:read"]


def test_a_token_is_shared_by_cold_environments(backend, stands):
    server, a = guarded(stands)
    shared = backend(machine_entry(server))
    assert listed(shared)["status"] == "available"
    assert listed_cold(shared)["status"] == "available"
    assert called(shared)["user"] == "machine"
    assert len(server.requests("tools/list")) >= 3, "each environment asked the server"
    assert len(a.requests("token")) == 1


def test_a_token_is_refreshed_before_it_is_over(backend, stands):
    """The token response says that a token lives 1 s; in fact it lives 1 h. No server may receive an expired token."""
    server, a = guarded(stands, token_with={"expires_in": 1})
    refreshed = backend(machine_entry(server))
    wait_for(lambda: listed(refreshed)["status"] == "available" and len(a.requests("token")) >= 3)
    assert {request.form["grant_type"] for request in a.requests("token")} == {"client_credentials"}
    began = [request for request in server.requests("initialize") if request.bearer]
    assert len(began) == len(server.requests("tools/list")), "none was refused"


def test_a_refused_token_is_renewed_once(backend, stands):
    server, a = guarded(stands)
    renewed = backend(machine_entry(server))
    assert listed(renewed)["status"] == "available"
    server.refuse_all()
    assert listed(renewed)["status"] == "available"
    assert len(a.requests("token")) == 2


def test_a_server_that_refuses_every_token_is_not_asked_in_a_loop(backend, stands):
    server, a = guarded(stands)
    server.metadata = {"authorization_servers": [a.issuer]}
    server.authorization_server = stands(AuthorizationServer)
    agent = listed(backend(machine_entry(server)))
    assert agent["status"] == "unavailable" and "401" in agent["status_reason"]
    assert len(a.requests("token")) == 2
    assert len([request for request in server.requests("initialize") if request.bearer]) == 2


def test_more_scopes_are_asked_for_when_the_server_names_them(backend, stands):
    server, a = guarded(stands, server={"needs": {WRITE: "mcp:write"}})
    asked = backend(machine_entry(server, scopes="mcp:read"))
    assert called(asked, WRITE)["tool"] == WRITE
    assert [request.form["scope"] for request in a.requests("token")] == ["mcp:read", "mcp:read mcp:write"]
    assert called(asked, WRITE)["tool"] == WRITE
    assert listed(asked)["status"] == "available"
    assert len(a.requests("token")) == 2, "what was granted is kept"


def test_scopes_granted_without_being_asked_for_are_kept_when_more_are_needed(backend, stands):
    server, a = guarded(stands, server={"needs": {"tools/list": "mcp:read", WRITE: "mcp:write"}})
    assert called(backend(machine_entry(server)), WRITE)["tool"] == WRITE
    assert set(a.requests("token")[-1].form["scope"].split()) == {"mcp:read", "mcp:write"}


def test_a_server_that_refuses_every_scope_is_unavailable(backend, stands):
    server, a = guarded(stands, server={"needs": {"tools/list": "mcp:write"}, "never_enough": True})
    endless = backend(machine_entry(server))
    agent = listed(endless)
    assert agent["status"] == "unavailable" and "mcp:write" in agent["status_reason"]
    for _ in range(3):
        listed_cold(endless)
    assert len(a.requests("token")) == 2
    assert len(server.requests("tools/list")) <= 8


def test_a_wrong_secret_is_reported_with_the_authorization_servers_error(backend, stands):
    server, a = guarded(stands)
    wrong = backend(machine_entry(server, client_secret=CANARY))
    agent = listed(wrong)
    assert agent["status"] == "unavailable"
    assert agent["status_reason"] == "sign-in failed: the token endpoint refused with invalid_client: wrong secret"
    assert not server.requests("initialize"), "without a token the server is not contacted"
    wrong.put_secret([machine_entry(server)])
    assert listed_cold(wrong)["status"] == "available", "the mended secret is used"


def test_tokens_are_never_used_at_another_server(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    one, other = stands(ProtectedServer, a), stands(ProtectedServer, a)
    both = backend(machine_entry(one, agent_name="one"), machine_entry(other, agent_name="other"))
    assert [agent["status"] for agent in both.agents()] == ["available"] * 2
    tokens = [{request.bearer for request in server.seen if request.bearer} for server in (one, other)]
    assert len(tokens[0]) == len(tokens[1]) == 1 and tokens[0] != tokens[1]
    assert sorted(request.form["resource"] for request in a.requests("token")) == sorted([one.url, other.url])
