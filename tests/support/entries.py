"""Builds test input: entries, tools, scripts for the stand-in model, events of resolvers."""

import json
from pathlib import Path

CANARY = "Canary-Pass-1!x"


def user_entry(server, **fields) -> dict:
    """Returns an entry for a server that users sign in to."""
    return {"mcp_url": server.url, "auth_type": "oauth2", "agent_name": "notes"} | fields


def machine_entry(server, **fields) -> dict:
    """Returns an entry whose client signs in for itself (client_credentials)."""
    client = {"grant_type": "client_credentials", "client_id": "machine", "client_secret": "machine-secret"}
    return user_entry(server) | client | fields


def own_tables(world) -> dict[str, str]:
    """Returns variables for a backend with its own tables, because ports are reused, and without a tool cache."""
    tables = dict.fromkeys(("CONNECTIONS_TABLE", "CATALOG_TABLE"), world.table())
    return {"TOOL_CACHE_TTL_SECONDS": "0.001"} | tables


def as_user(name: str, group: str = "Author", **arguments) -> dict:
    """Returns the event with which a resolver lists the agents for a user."""
    identity = {"username": name, "sub": f"sub-{name}", "claims": {"cognito:groups": [group]}}
    return {"info": {"fieldName": "listAvailableAgents"}, "arguments": arguments, "identity": identity}


def script(*steps: dict) -> str:
    """Returns a query with a script that the stand-in model follows."""
    return f"script: {json.dumps(list(steps))}"


def tool(name: str, **fields) -> dict:
    return {"name": name, "description": f"The tool {name}", "inputSchema": {"type": "object"}} | fields


def samples(function: str) -> dict[str, dict]:
    """Returns the sample events of a function, by file name."""
    folder = Path(__file__).parent.parent.parent / "events" / function
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
