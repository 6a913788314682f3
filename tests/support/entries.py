"""What tests write: entries, tools, the script of the stand-in model, events of resolvers."""

import json
from pathlib import Path

CANARY = "Canary-Pass-1!x"


def user_entry(server, **fields) -> dict:
    """An entry that users sign in to."""
    return {"mcp_url": server.url, "auth_type": "oauth2", "agent_name": "notes"} | fields


def machine_entry(server, **fields) -> dict:
    """An entry whose client signs in for itself."""
    client = {"grant_type": "client_credentials", "client_id": "machine", "client_secret": "machine-secret"}
    return user_entry(server) | client | fields


def own_tables(world) -> dict[str, str]:
    """What gives a backend tables of its own, since ports come again, and has each list ask the servers anew."""
    tables = dict.fromkeys(("CONNECTIONS_TABLE", "CATALOG_TABLE"), world.table())
    return {"TOOL_CACHE_TTL_SECONDS": "0.001"} | tables


def as_user(name: str, group: str = "Author", **arguments) -> dict:
    """The event with which a resolver lists the agents for a user."""
    identity = {"username": name, "sub": f"sub-{name}", "claims": {"cognito:groups": [group]}}
    return {"info": {"fieldName": "listAvailableAgents"}, "arguments": arguments, "identity": identity}


def script(*steps: dict) -> str:
    """A query whose script the stand-in model follows."""
    return f"script: {json.dumps(list(steps))}"


def tool(name: str, **fields) -> dict:
    return {"name": name, "description": f"The tool {name}", "inputSchema": {"type": "object"}} | fields


def samples(function: str) -> dict[str, dict]:
    """The sample events of a function, by case."""
    folder = Path(__file__).parent.parent.parent / "events" / function
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
