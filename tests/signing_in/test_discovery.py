"""Discovery of the authorization server, from metadata documents or from the entry."""

from tests.lab import Answer, AuthorizationServer, ProtectedServer
from tests.signing_in.steps import EVIL, called, guarded, listed, statuses
from tests.support import connect, machine_entry, user_entry


def found(backend, servers) -> dict[str, str]:
    """Returns the status of each server's agent by name, with client_credentials."""
    return statuses(backend(*[machine_entry(each, agent_name=name) for name, each in servers.items()]).agents())


def test_the_servers_metadata_is_found_wherever_it_is_alone(backend, stands):
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    well_known, silent = "/.well-known/oauth-protected-resource", {"resource_metadata": None}
    servers = {
        "named": stands(ProtectedServer, a, locations=["/elsewhere/.well-known/of/mine"]),
        "inserted": stands(ProtectedServer, a, locations=[f"{well_known}/mcp"], challenge=silent),
        "root": stands(ProtectedServer, a, locations=[well_known], challenge=silent),
        "origin": stands(ProtectedServer, a, locations=[well_known], challenge=silent),
        # Gateways do this.
        "renamed": stands(ProtectedServer, a, challenge_header="x-amzn-remapped-www-authenticate"),
        "taken": stands(ProtectedServer, a, challenge_text=""),
    }
    servers["origin"].metadata = {"resource": servers["origin"].base}
    assert found(backend, servers) == dict.fromkeys(servers, "available")
    resources = {request.form["resource"] for request in a.requests("token")}
    assert resources == {server.resource for server in servers.values()}


def test_the_authorization_servers_metadata_is_found_wherever_it_is_alone(backend, stands):
    places = {
        "oauth inserted": ("/tenant", "/.well-known/oauth-authorization-server/tenant"),
        "openid inserted": ("/tenant", "/.well-known/openid-configuration/tenant"),
        "openid appended": ("/tenant", "/tenant/.well-known/openid-configuration"),
        "oauth appended": ("/tenant", "/tenant/.well-known/oauth-authorization-server"),
        "oauth": ("", "/.well-known/oauth-authorization-server"),
        "openid": ("", "/.well-known/openid-configuration"),
    }
    servers = {
        name.replace(" ", "_"): guarded(stands, path=path, locations=[at])[0] for name, (path, at) in places.items()
    }
    assert found(backend, servers) == dict.fromkeys(servers, "available")


def test_a_server_without_metadata_is_its_own_authorization_server(backend, stands):
    """As in revisions of MCP before 2025-06-18."""
    a = stands(AuthorizationServer)
    a.add_client("machine", "machine-secret")
    server = stands(ProtectedServer, a, locations=[])
    server.answer = own_authorization_server(server, a)
    assert listed(backend(machine_entry(server)))["status"] == "available"
    assert len(a.requests("token")) == 1


def own_authorization_server(server, a):
    """Serves `a`'s metadata at the MCP server's root, with the MCP server as issuer."""
    answered = server.answer

    def answer(request):
        if request.path == "/.well-known/oauth-authorization-server":
            request.endpoint = "metadata"
            return Answer(200, {"issuer": server.base, "token_endpoint": f"{a.issuer}/token"})
        return answered(request)

    return answer


def test_endpoints_that_the_entry_names_need_no_discovery(backend, stands):
    server, a = guarded(stands, path="/tenant", locations=[])
    server.locations = []
    named = {"token_url": f"{a.issuer}/token"}
    a.add_client("posting", "machine-secret", "client_secret_post")
    for client in ("machine", "posting"):
        # No metadata says how to send the secret: one method is tried, and if it is refused, the other.
        assert listed(backend(machine_entry(server, **named, client_id=client)))["status"] == "available"
    a.add_client("ours")
    named |= {"authorization_url": f"{a.issuer}/authorize", "client_id": "ours"}
    asked = backend(user_entry(server, **named))
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"
    assert not a.requests("metadata")


def test_an_issuer_that_the_entry_names_goes_before_the_servers(backend, stands):
    server, right = guarded(stands, path="/tenant")
    wrong = stands(AuthorizationServer)
    server.metadata = {"authorization_servers": [wrong.issuer]}
    assert listed(backend(machine_entry(server, issuer=right.issuer)))["status"] == "available"
    assert wrong.seen == []


def test_metadata_that_is_busy_is_asked_for_again(backend, stands):
    servers = {}
    for status, headers in ((500, {}), (503, {}), (429, {"retry-after": "0"})):
        server, a = guarded(stands)
        a.fail("metadata", times=2, status=status, headers=headers)
        server.answer = busy(server, 2, status, headers)
        servers[str(status)] = server
    assert found(backend, servers) == dict.fromkeys(servers, "available")
    for server in servers.values():
        a = server.authorization_server
        assert [request.path for request in a.requests("metadata")][:3] == a.locations[:1] * 3


def busy(server, times, status, headers):
    """Makes the server's metadata return an error status for a number of requests."""
    answered, left = server.answer, [times]

    def answer(request):
        if "/.well-known/" in request.route and left[0]:
            left[0] -= 1
            request.endpoint = "metadata"
            return Answer(status, "<h1>Busy</h1>", headers)
        return answered(request)

    return answer


WRONG = {
    "resource": ("server", {"metadata": {"resource": f"{EVIL}/mcp"}}, f"for the resource {EVIL}/mcp, not for "),
    "issuer": ("a", {"metadata": {"issuer": EVIL}}, f"names the issuer {EVIL}, not "),
    "address": (
        "a",
        {"metadata": {"token_endpoint": "http://169.254.169.254/token"}},
        "token endpoint was not reached: 169.254.169.254",
    ),
    "mapped": (
        "a",
        {"metadata": {"token_endpoint": "http://[::ffff:169.254.169.254]/"}},
        "the token endpoint was not reached: ",
    ),
    "endpoint": ("a", {"metadata": {"token_endpoint": None}}, "answered without a usable token_endpoint"),
    "html": (
        "a",
        {"metadata_answer": Answer(200, "<html>hello</html>")},
        "metadata answered with HTML instead of JSON",
    ),
    "nowhere": ("a", {"locations": []}, "no metadata says where"),
}


def test_metadata_that_is_wrong_is_refused_and_no_secret_sent(backend, stands):
    servers = {}
    for name, (whose, steered, _) in WRONG.items():
        servers[name] = guarded(stands, **steered)[0] if whose == "a" else guarded(stands, server=steered)[0]
    agents = backend(*[machine_entry(each, agent_name=name) for name, each in servers.items()]).agents()
    for agent, (name, (_, _, reason)) in zip(agents, WRONG.items(), strict=True):
        assert agent["status"] == "unavailable" and reason in agent["status_reason"], (name, agent["status_reason"])
        assert not servers[name].authorization_server.requests("token")
