"""Both transports and every revision of the protocol, with and without a sign-in."""

import json

import pytest

from tests.lab import Answer, AuthorizationServer, PlainServer, SseServer
from tests.signing_in.steps import KEY, called, listed, ran, statuses
from tests.support import machine_entry, wait_for


@pytest.mark.parametrize(
    ("transport", "named"), [("sse", "sse"), ("streamable-http", "streamable_http"), ("streamable-http", None)]
)
def test_a_server_of_the_python_sdk_is_listed_and_called(backend, stands, transport, named):
    server = stands(SseServer, transport, bearer=KEY)
    entry = {
        "mcp_url": server.url,
        "auth_type": "api_key",
        "credentials": KEY,
        "agent_name": "notes",
        "transport": named,
    }
    asked = backend(entry)
    agent = listed(asked)
    assert (agent["status"], agent["tools"]) == ("available", ["add", "slow"]), agent["status_reason"]
    job = ran(asked, {"call": "add", "with": {"a": 2, "b": 3}}, {"say": "{result}"})
    assert json.loads(job["result"])["content"].split()[0] == "5"
    wait_for(lambda: server.seen["open"] == 0)
    if transport == "sse":
        # For each environment: the stream, and one message each for initialize, initialized, list and call.
        assert server.seen["requests"]["GET /sse"] == 2 and server.seen["requests"]["POST /messages"] >= 6


def test_a_server_over_sse_that_refuses_the_key_is_reported(backend, stands):
    server = stands(SseServer, bearer="another")
    agent = listed(backend({"mcp_url": server.url, "auth_type": "api_key", "credentials": KEY, "transport": "sse"}))
    assert agent["status"] == "unavailable" and "401" in agent["status_reason"]


def test_a_server_over_sse_behind_oauth(backend, stands):
    """The server has no OAuth itself: it accepts the token that the authorization server issues."""
    a = stands(AuthorizationServer, token_with={"access_token": KEY})
    a.add_client("machine", "machine-secret")
    server = stands(SseServer, bearer=KEY)
    asked = backend(machine_entry(server, transport="sse", token_url=f"{a.issuer}/token"))
    assert listed(asked)["tools"] == ["add", "slow"]


def test_every_revision_is_supported(backend, stands):
    revisions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
    servers = {revision: stands(PlainServer, revision=revision) for revision in revisions}
    asked = backend(*[{"mcp_url": each.url, "agent_name": revision} for revision, each in servers.items()])
    assert statuses(asked.agents()) == dict.fromkeys(revisions, "available")
    for revision, server in servers.items():
        assert called(asked, agent=revision) == {"n": 1}, revision
        if revision >= "2025-06-18":
            [request] = server.requests("tools/call")
            assert request.headers["mcp-protocol-version"] == revision


def test_a_server_without_initialize_works_whatever_its_refusal(backend, stands):
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


def test_a_server_that_changes_its_opening_request_is_followed_by_the_same_process(backend, stands):
    server = stands(PlainServer, revision="2026-07-28")
    asked = backend({"mcp_url": server.url})
    for revision in ("2026-07-28", "2025-11-25", "2026-07-28"):
        server.revision = revision
        assert listed(asked)["status"] == "available", revision


def test_a_stateless_server_behind_oauth(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    server = stands(PlainServer, revision="2026-07-28")
    named = {"token_url": f"{a.issuer}/token"}
    asked = backend(machine_entry(server, **named))
    assert listed(asked)["status"] == "available"
    assert all(a.introspect(request.bearer)["active"] for request in server.requests("tools/list"))


def test_an_unknown_revision_is_reported(backend, stands):
    server = stands(PlainServer, revision="1999-01-01")
    agent = listed(backend({"mcp_url": server.url}))
    assert agent["status"] == "unavailable" and "revision" in agent["status_reason"]
