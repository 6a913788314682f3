"""The tools that an entry offers."""

import json

from tests.lab import PlainServer
from tests.signing_in.steps import called, ran

TOOLS = ["list_notes", "read_notes", "write_notes", "delete_notes"]


CHOSEN = {
    "unsaid": (None, TOOLS),
    "all": ("all", TOOLS),
    "list": (["read_*", "list_notes"], ["list_notes", "read_notes"]),
    "deny": ({"deny": ["*te_notes"]}, ["list_notes", "read_notes"]),
    "both": ({"allow": ["*_notes"], "deny": ["[dw]*"]}, ["list_notes", "read_notes"]),
    "one": ({"allow": ["rea?_notes"]}, ["read_notes"]),
    "none": ([], []),
}


def test_tools_are_offered_as_the_entry_says(backend, stands):
    """All entries name the same server, whose tools are listed once."""
    server = stands(PlainServer, tools=TOOLS)
    entry = {"mcp_url": server.url, "agent_description": "Notes."}
    entries = [entry | {"agent_name": name, "tools": chosen} for name, (chosen, _) in CHOSEN.items()]
    asked = backend(*entries, TOOL_CACHE_TTL_SECONDS="900")
    for agent, (name, (_, offered)) in zip(asked.agents(), CHOSEN.items(), strict=True):
        assert (agent["agent_id"], agent["status"], agent["tools"]) == (name, "available", offered)
        told = f"Notes. The tools available are: {', '.join(offered)}." if offered else "Notes."
        assert agent["agent_description"] == told
    assert len(server.requests("tools/list")) == 1
    for name in ("both", "none"):
        job = ran(asked, {"say": "Tools: {tools}"}, agent=name)
        assert json.loads(job["result"])["content"] == f"Tools: {','.join(CHOSEN[name][1])}"


def test_a_tool_that_is_denied_is_never_called(backend, stands):
    server = stands(PlainServer, tools=TOOLS)
    asked = backend({"mcp_url": server.url, "agent_name": "notes", "tools": {"deny": ["delete_*"]}})
    assert "There is no tool delete_notes" in called(asked, "delete_notes")
    assert not server.requests("tools/call")
