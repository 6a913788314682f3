"""MCP servers that later name another authorization server than at the first sign-in."""

import pytest

from tests.lab import AuthorizationServer
from tests.signing_in.steps import READ, WRITE, called, guarded, listed, listed_cold
from tests.support import connect, machine_entry, user_entry


def shown(a) -> list:
    """Returns the requests other than those for metadata."""
    return [request for request in a.seen if request.body or "authorization" in request.headers]


@pytest.fixture
def moved(stands):
    """Makes a server name a new authorization server: `moved(server)` returns the new one."""

    def move(server):
        other = stands(AuthorizationServer)
        other.add_client("machine", "machine-secret")
        server.metadata = {"authorization_servers": [other.issuer]}
        server.refuse_all()
        return other

    return move


def test_a_new_authorization_server_gets_no_clients_secret(backend, stands, moved):
    server, a = guarded(stands)
    asked = backend(machine_entry(server))
    assert listed(asked)["status"] == "available"
    other = moved(server)
    for agent in (listed(asked), listed_cold(asked)):
        assert (agent["status"], agent["tools"]) == ("needs_sign_in", [READ, WRITE])
        assert f"{other.issuer}, where it was {a.issuer}" in agent["status_reason"]
    assert other.requests("metadata") and shown(other) == []
    trusted = backend(machine_entry(server, issuer=other.issuer))
    server.authorization_server = other
    assert listed(trusted)["status"] == "available", "an entry may say that it trusts the new one"


def test_the_first_authorization_server_is_remembered_when_its_tokens_are_gone(backend, stands, moved, world):
    server, a = guarded(stands)
    asked = backend(machine_entry(server))
    assert listed(asked)["status"] == "available"
    forget(world, asked, "grant#")
    other = moved(server)
    agent = listed_cold(asked)
    assert agent["status"] == "needs_sign_in" and a.issuer in agent["status_reason"]
    assert other.requests("metadata") and shown(other) == []


def forget(world, backend, kind: str):
    """Deletes items of one kind from the connections table."""
    table = backend.environment["CONNECTIONS_TABLE"]
    keys = [item["PK"] for item in world.dynamodb.scan(TableName=table)["Items"] if item["PK"]["S"].startswith(kind)]
    assert keys
    for key in keys:
        world.dynamodb.delete_item(TableName=table, Key={"PK": key})


def test_a_new_authorization_server_gets_no_refresh_token(backend, stands, moved):
    server, a = guarded(stands)
    asked = backend(user_entry(server))
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
