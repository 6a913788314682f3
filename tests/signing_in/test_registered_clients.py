"""The client of an authorization request: from the entry, with a metadata document, or self-registered."""

from tests.signing_in.steps import called, guarded
from tests.support import connect, user_entry, wait_for


def test_a_client_registered_beforehand_is_used(backend, stands):
    server, a = guarded(stands)
    a.add_client("ours", "our-secret", redirect_uris=None)
    asked = backend(user_entry(server, client_id="ours", client_secret="our-secret"))
    assert "client_id=ours&" in connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    assert not a.requests("register")


def test_a_client_metadata_document_comes_before_registration(backend, stands):
    server, a = guarded(stands, accepts_client_documents=True)
    asked = backend(user_entry(server))
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    [request] = a.requests("authorize")
    document = asked.world.configuration("ConnectionsApiFunctionArn")["Environment"]["Variables"][
        "OAUTH_CLIENT_METADATA_URL"
    ]
    assert request.query["client_id"] == document and document.startswith("https://")
    assert not a.requests("register")


def test_a_registered_client_authenticates_with_the_method_of_its_registration(backend, stands):
    told = {"token_endpoint_auth_method": "client_secret_post", "client_secret": "given-secret"}
    server, a = guarded(stands, registration_with=told, token_with={"expires_in": 1})
    asked = backend(user_entry(server))
    connect(asked, "notes")
    wait_for(lambda: called(asked)["user"] == "ada" and a.requests("token", grant_type="refresh_token"))
    assert {request.form["client_secret"] for request in a.requests("token")} == {"given-secret"}
