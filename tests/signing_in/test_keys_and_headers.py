"""API keys and extra headers, which are sent with every request."""

from tests.lab import AuthorizationServer, PlainServer, ProtectedServer
from tests.signing_in.steps import KEY, READ, listed, skipped, statuses
from tests.support import CANARY, machine_entry

KEYS = [
    ({}, "authorization", f"Bearer {KEY}"),
    ({"auth_type": "token"}, "authorization", f"Bearer {KEY}"),
    ({"auth_type": None}, "authorization", f"Bearer {KEY}"),
    ({"authorization_scheme": "Token"}, "authorization", f"Token {KEY}"),
    ({"authorization_scheme": "none"}, "authorization", KEY),
    ({"api_key_header": "X-Api-Key"}, "x-api-key", KEY),
    ({"api_key_header": "X-Api-Key", "authorization_scheme": "Token"}, "x-api-key", f"Token {KEY}"),
    ({"credentials": f"Bearer {KEY}"}, "authorization", f"Bearer {KEY}"),
    ({"credentials": f"Token {KEY}", "authorization_scheme": "Token"}, "authorization", f"Token {KEY}"),
    ({"credentials": f"Token {KEY}"}, "authorization", f"Token {KEY}"),
]


def test_a_key_is_sent_as_the_entry_says(backend, stands):
    servers = [stands(PlainServer, {header: value}) for _, header, value in KEYS]
    key = {"auth_type": "api_key", "credentials": KEY}
    entries = [{"mcp_url": each.url} | key | fields for each, (fields, *_) in zip(servers, KEYS, strict=True)]
    agents = backend(*entries).agents()
    for agent, server, (fields, header, _) in zip(agents, servers, KEYS, strict=True):
        assert (agent["status"], agent["tools"]) == ("available", [READ]), fields
        other = ({"authorization", "x-api-key"} - {header}).pop()
        assert not any(request.headers.get(other) for request in server.seen), fields


def test_a_wrong_key_is_unavailable_with_the_servers_answer_and_not_repeated(backend, stands):
    server = stands(PlainServer, {"authorization": "Bearer another"})
    agent = listed(backend({"mcp_url": server.url, "auth_type": "api_key", "credentials": KEY}))
    assert (agent["status"], agent["tools"]) == ("unavailable", [])
    assert agent["status_reason"] == "the server answered 401: it does not take this sign-in"
    assert len(server.seen) == 1, "there is no other key to try"


def test_extra_headers_go_with_every_request_of_any_sign_in(backend, stands, world):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    servers = {
        "none": stands(PlainServer, {"x-tenant": KEY}),
        "api_key": stands(PlainServer, {"x-tenant": KEY, "authorization": f"Bearer {KEY}"}),
        "cognito": stands(PlainServer, {"x-tenant": KEY}),
        "oauth2": stands(ProtectedServer, a),
    }
    entries = {
        "none": {"mcp_url": servers["none"].url, "auth_type": "none"},
        "api_key": {"mcp_url": servers["api_key"].url, "auth_type": "api_key", "credentials": KEY},
        "cognito": world.pool().entry(servers["cognito"].url, auth_type="cognito"),
        "oauth2": machine_entry(servers["oauth2"]),
    }
    extra = {"extra_headers": {"X-Tenant": KEY}}
    agents = backend(*[entry | extra | {"agent_name": name} for name, entry in entries.items()]).agents()
    assert statuses(agents) == dict.fromkeys(servers, "available")
    for name, server in servers.items():
        methods = [request for request in server.seen if request.endpoint in ("initialize", "tools/list", "ping")]
        assert len(methods) >= 2 and all(request.headers.get("x-tenant") == KEY for request in methods), name
    assert not any(request.headers.get("x-tenant") for request in a.seen), "they are for the server alone"


def test_extra_headers_never_replace_authorization_or_mcp_headers(backend, stands):
    url = stands(PlainServer).url
    names = ["Authorization", "host", "Mcp-Session-Id", "MCP-Protocol-Version"]
    bad = [{"mcp_url": url, "auth_type": "none", "extra_headers": {name: CANARY}} for name in names]
    mixed = backend(*bad, {"mcp_url": url, "agent_name": "good"})
    assert statuses(mixed.agents()) == {"good": "available"}
    for position, name in enumerate(names, 1):
        problem = f"entry {position}, field extra_headers.{name}: is a header that is not for entries to set"
        assert problem in skipped(mixed)
    assert CANARY not in "\n".join(mixed.log_lines())
