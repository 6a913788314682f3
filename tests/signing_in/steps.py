"""Steps that these tests share: start a server and its authorization server, list agents, run a job."""

import json
from urllib.parse import parse_qsl, urlsplit

from tests.lab import AuthorizationServer, ProtectedServer
from tests.support import as_user, script

KEY = "k3y-canary"
EVIL = "https://evil.example.com"
READ, WRITE = "read_notes", "write_notes"


def guarded(stands, server=None, **authorization):
    """Starts an MCP server and its authorization server, which has the client of `machine_entry`."""
    a = stands(AuthorizationServer, **authorization)
    a.add_client("machine", "machine-secret")
    return stands(ProtectedServer, a, **server or {}), a


def listed(backend, user: str | None = None, **arguments) -> dict:
    """Returns the only agent of the list, for a user."""
    [agent] = backend.agents(as_user(user, **arguments) if user else {"arguments": arguments})
    return agent


def listed_cold(backend, user: str | None = None) -> dict:
    """Returns the only agent of the list, from a new environment, which has no record of earlier failures."""
    backend.go_cold()
    return listed(backend, user)


def ran(backend, *steps, user: str = "ada", agent: str = "notes") -> dict:
    """Runs a job for a user, and returns the job's item."""
    event = backend.submit(script(*steps), [agent], user=user)
    backend.process(event)
    return backend.job(event)


def called(backend, tool: str = READ, user: str = "ada", agent: str = "notes"):
    """Runs a user's job that calls a tool. Returns the tool's result, as JSON or else as text."""
    job = ran(backend, {"call": tool, "with": {"n": 1}}, {"say": "{result}"}, user=user, agent=agent)
    assert job["status"] == "COMPLETED", job["error"]
    said = json.loads(job["result"])["content"]
    return json.loads(said) if said.startswith("{") else said


def statuses(agents) -> dict[str, str]:
    return {agent["agent_id"]: agent["status"] for agent in agents}


def skipped(backend) -> list[str]:
    """Returns the reasons why entries were skipped, from the log."""
    return [event["diagnostic"] for event in backend.log_events("External MCP: entry skipped")]


def scopes_of(url: str) -> set[str]:
    """Returns the scopes in an authorization URL."""
    return set(dict(parse_qsl(urlsplit(url).query)).get("scope", "").split())
