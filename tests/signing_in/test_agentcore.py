"""AgentCore runtimes: entries with an ARN, and AgentCore's metadata path."""

import pytest

from tests.lab import AgentCoreServer, AuthorizationServer
from tests.signing_in.steps import KEY, READ, WRITE, called, listed, skipped
from tests.support import connect, machine_entry


@pytest.fixture
def runtime(stands):
    """Starts a stand-in for an AgentCore runtime and its authorization server: `runtime(**options)`."""

    def start(**options):
        a = stands(AuthorizationServer)
        a.add_client("machine", "machine-secret")
        return stands(AgentCoreServer, a, **options), a

    return start


def test_a_runtime_is_found_by_its_arn(backend, runtime):
    """With either field, with and without a qualifier."""
    for field, qualifier in (("agent_runtime_arn", None), ("mcp_url", "prod")):
        server, a = runtime(qualifier=qualifier or "DEFAULT")
        entry = machine_entry(server) | {"mcp_url": None, field: server.ARN, "qualifier": qualifier}
        asked = backend(entry, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base)
        agent = listed(asked)
        assert (agent["status"], agent["tools"]) == ("available", [READ, WRITE]), agent["status_reason"]
        assert called(asked)["user"] == "machine"
        assert {request.path for request in server.requests("initialize")} == {server.target}
        assert {request.form["resource"] for request in a.requests("token")} == {server.url}
        assert server.url.endswith(f"?qualifier={qualifier or 'DEFAULT'}")


def test_a_runtimes_metadata_is_found_without_its_challenge(backend, runtime):
    server, _ = runtime(challenge_text="")
    entry = machine_entry(server) | {"mcp_url": None, "agent_runtime_arn": server.ARN, "region": "us-east-1"}
    assert listed(backend(entry, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base))["status"] == "available"


def test_a_runtimes_users_sign_in(backend, runtime):
    server, _ = runtime()
    entry = {"agent_runtime_arn": server.ARN, "auth_type": "oauth2", "agent_name": "notes"}
    asked = backend(entry, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base)
    connect(asked, "notes")
    assert called(asked)["user"] == "ada"


def test_a_runtimes_resource_can_be_left_out_or_given(backend, runtime):
    server, a = runtime(checks_audience=False)
    entry = machine_entry(server) | {"mcp_url": None, "agent_runtime_arn": server.ARN}
    resources = ["omit", "https://notes.example.com"]
    entries = [entry | {"agent_name": f"notes {n}", "resource": resource} for n, resource in enumerate(resources)]
    agents = backend(*entries, AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=server.base).agents()
    assert [agent["status"] for agent in agents] == ["available"] * 2
    assert {request.form.get("resource") for request in a.requests("token")} == {None, resources[1]}


def test_what_a_runtime_cannot_be_is_refused_with_the_reason(backend):
    bad = [
        (
            {"auth_type": "api_key", "credentials": KEY},
            "field auth_type: api_key does not work with AgentCore, which takes OAuth",
        ),
        ({"auth_type": "oauth2", "region": "eu-west-1"}, "field region: is another one than the ARN's"),
        (
            {"auth_type": "oauth2", "mcp_url": "https://a.example/mcp"},
            "field agent_runtime_arn: is given beside mcp_url",
        ),
        (
            {"auth_type": "oauth2", "agent_runtime_arn": "arn:aws:s3:::x"},
            "field agent_runtime_arn: is not a runtime's ARN",
        ),
    ]
    refused = backend(*[{"agent_runtime_arn": AgentCoreServer.ARN} | fields for fields, _ in bad])
    assert refused.agents() == []
    for position, (_, problem) in enumerate(bad, 1):
        assert any(each.startswith(f"entry {position}, {problem}") for each in skipped(refused)), problem
