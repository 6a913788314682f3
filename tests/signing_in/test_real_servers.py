"""Third-party authorization servers: a certified one, and Cognito."""

import pytest

from tests.lab import CognitoOAuth, OidcProvider, ProtectedServer, follow
from tests.signing_in.steps import READ, WRITE, called, listed, listed_cold, scopes_of
from tests.support import CANARY, connect, machine_entry, user_entry, wait_for


@pytest.fixture(scope="module")
def certified():
    provider = OidcProvider(access_token_seconds=2)
    yield provider
    provider.stop()


def test_a_certified_server_from_registration_to_rotation_to_revocation(backend, stands, certified):
    """Its issuer has a path. It needs `resource` in every request, sends `iss`, and rotates refresh tokens."""
    server = stands(ProtectedServer, certified)
    asked = backend(user_entry(server))
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
    asked = backend(user_entry(server))
    _, started = asked.http("POST", "/oauth/start", {"agent_id": "notes"})
    back = follow(f"{started['authorization_url']}&login_hint=nobody")
    status, page = asked.http("GET", "/oauth/callback", user=None, query=back)
    assert status == 400 and "the authorization endpoint refused with access_denied: the user said no" in page
    assert listed(asked, "ada")["status"] == "needs_sign_in"


def test_offline_access_is_requested_from_a_certified_server_that_needs_it(backend, stands):
    provider = stands(OidcProvider, access_token_seconds=1, refresh_tokens="offline_access")
    server = stands(ProtectedServer, provider, metadata={"scopes_supported": ["mcp:read"]})
    asked = backend(user_entry(server))
    assert scopes_of(connect(asked, "notes")) == {"mcp:read", "offline_access"}
    wait_for(lambda: called(asked)["user"] == "ada" and provider.seen["token_by_grant"].get("refresh_token", 0) >= 2)


def test_a_machine_at_a_certified_server(backend, stands):
    client = {"client_id": "machine", "client_secret": "machine-secret", "grant_types": ["client_credentials"]}
    provider = stands(OidcProvider, clients=[client | {"redirect_uris": [], "response_types": []}])
    server = stands(ProtectedServer, provider)
    asked = backend(machine_entry(server, scopes="mcp:read"))
    assert called(asked)["user"] == "machine"
    assert provider.seen["token_by_grant"] == {"client_credentials": 1}


@pytest.fixture(scope="module")
def cognito(world):
    pool = CognitoOAuth(world.aws, redirect_uris=[world.outputs["OAuthCallbackUrl"]], access_token_seconds=2)
    yield pool
    pool.stop()


def test_a_cognito_user_signs_in_and_is_refreshed(backend, stands, cognito):
    server = stands(ProtectedServer, cognito, checks_audience=False)
    client = {"client_id": cognito.client_id, "client_secret": cognito.client_secret, "scopes": "openid mcp/read"}
    asked = backend(user_entry(server, **client))
    connect(asked, "notes", browser=cognito.follow)
    assert listed(asked, "ada")["status"] == "available"
    wait_for(lambda: called(asked)["user"] == "ada" and len({request.bearer for request in server.seen} - {None}) >= 3)
    assert not cognito.front.requests("token"), "the endpoints are where its metadata says"


def test_a_machine_at_cognito(backend, stands, cognito):
    server = stands(ProtectedServer, cognito, checks_audience=False, needs={"tools/list": "mcp/read"})
    client = {"client_id": cognito.machine_client_id, "client_secret": cognito.machine_client_secret}
    asked = backend(machine_entry(server, **client, scopes="mcp/read"))
    assert called(asked)["user"] == cognito.machine_client_id
    wrong = listed(backend(machine_entry(server, **client | {"client_secret": CANARY}, scopes="mcp/read")))
    assert wrong["status"] == "unavailable" and "invalid_client" in wrong["status_reason"]
