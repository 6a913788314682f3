"""The steps that these tests share: a server and its authorization server, a list, a job."""

import json
from urllib.parse import parse_qsl, urlsplit

from tests.lab import AuthorizationServer, ProtectedServer
from tests.support import as_user, script

KEY = "k3y-canary"
EVIL = "https://evil.example.com"
READ, WRITE = "read_notes", "write_notes"


def guarded(stands, server=None, **authorization):
    """A server and its authorization server, which knows the client of `machine`."""
    a = stands(AuthorizationServer, **authorization)
    a.add_client("machine", "machine-secret")
    return stands(ProtectedServer, a, **server or {}), a


def listed(backend, user: str | None = None, **arguments) -> dict:
    """The one agent, as it is for a user."""
    [agent] = backend.agents(as_user(user, **arguments) if user else {"arguments": arguments})
    return agent


def listed_cold(backend, user: str | None = None) -> dict:
    """The one agent, as an environment sees it that knows nothing of earlier failures."""
    backend.go_cold()
    return listed(backend, user)


def ran(backend, *steps, user: str = "ada", agent: str = "notes") -> dict:
    """The item of a job that a user had run."""
    event = backend.submit(script(*steps), [agent], user=user)
    backend.process(event)
    return backend.job(event)


def called(backend, tool: str = READ, user: str = "ada", agent: str = "notes"):
    """What a tool said to a user's job; a text if it was no JSON."""
    job = ran(backend, {"call": tool, "with": {"n": 1}}, {"say": "{result}"}, user=user, agent=agent)
    assert job["status"] == "COMPLETED", job["error"]
    said = json.loads(job["result"])["content"]
    return json.loads(said) if said.startswith("{") else said


def statuses(agents) -> dict[str, str]:
    return {agent["agent_id"]: agent["status"] for agent in agents}


def skipped(backend) -> list[str]:
    """Why entries fell out, as the log has it."""
    return [event["diagnostic"] for event in backend.log_events("External MCP: entry skipped")]


def scopes_of(url: str) -> set[str]:
    """What an authorization URL asks for."""
    return set(dict(parse_qsl(urlsplit(url).query)).get("scope", "").split())
