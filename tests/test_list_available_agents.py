"""The deployed ListAvailableAgents: listed agents, sign-ins, faults of servers."""

import json
import time

import pytest

from tests.lab import PlainServer
from tests.support import CANARY, Failed, samples, script, tool


def statuses(agents):
    return {agent["agent_id"]: agent["status"] for agent in agents}


# What is listed


def test_an_empty_secret_lists_no_agents(backend):
    assert backend().agents() == []


def test_an_agent_has_the_pages_shape(backend, server):
    good = server(pages=[[tool("add"), tool("subtract")]])
    [agent] = backend([{"mcp_url": good.url, "agent_name": "My Calculator", "agent_description": "Adds."}]).agents()
    assert agent == {
        "agent_id": "my_calculator",
        "agent_name": "My Calculator",
        "agent_description": "Adds. The tools available are: add, subtract.",
        "sample_queries": [
            "What tools are available from the external MCP server?",
            "Help me use the external tools to solve my problem",
            "Show me what capabilities the MCP server provides",
        ],
        "status": "available",
        "status_reason": None,
        "tools": ["add", "subtract"],
    }


def test_names_default_by_position_and_duplicates_are_numbered(backend, server):
    shared = server()
    url = shared.url
    named = {"mcp_url": url, "agent_name": "Same Name"}
    agents = backend([None, {"mcp_url": url}, named, named, named | {"agent_name": "same name"}]).agents()
    assert [agent["agent_id"] for agent in agents] == [
        "external-mcp-agent-2",
        "same_name",
        "same_name_2",
        "same_name_3",
    ]
    assert shared.seen["requests"]["tools/list"] == 1, "one discovery for four entries of one server"
    assert agents[0]["agent_name"] == "External MCP Agent 2"
    assert agents[0]["agent_description"].startswith(
        "Agent which connects to external MCP servers to provide additional tools and capabilities."
        " The tools available are: echo."
    )


def test_all_pages_are_listed_and_event_streams_and_sessions_work(backend, server):
    pages = [[tool(f"tool-{page}-{n}") for n in range(3)] for page in range(4)]
    paged = server(pages=pages, event_stream=True, sessions=True)
    [agent] = backend([{"mcp_url": paged.url}]).agents()
    assert len(agent["tools"]) == 12 and agent["status"] == "available"
    assert paged.seen["requests"]["tools/list"] == 4
    assert paged.seen["requests"]["DELETE"] == 1, "the session is ended before the answer"
    assert "" not in paged.seen["requests"], "no stream is opened to listen on"


# The secret


def test_the_documented_example_with_its_comments_works(backend, server):
    text = (
        """// our servers
    [{ "mcp_url": "%s", //<!-- pragma: allowlist secret -->
       "agent_name": "Calculator", /* a block
       comment */ }, ]"""
        % server().url
    )
    assert statuses(backend(text).agents()) == {"calculator": "available"}


@pytest.mark.parametrize(
    ("text", "error_type", "parts"),
    [
        ('{"mcp_url": "%s"}' % CANARY, "SecretNotAnArray", ["single object", "line 1", "[ before"]),
        ('[{"cognito_password": "%s" "x": 1}]' % CANARY, "SecretNotJson", ["comma", "line 1, column 40"]),
        ('\n\n[{"a": "%s}]' % CANARY, "SecretNotJson", ["line 3"]),
        ("", "SecretNotAnArray", ["nothing"]),
        (
            '{"mcpServers": {"docs": {"url": "https://docs.example.com/mcp", "headers": {"X-Key": "%s"}}}}' % CANARY,
            "SecretNotAnArray",
            ["another MCP client's list", '[{"mcp_url": "https://docs.example.com/mcp"}]'],
        ),
        (
            '{"context_servers": {"docs": {"command": "npx", "env": {"KEY": "%s"}}}}' % CANARY,
            "SecretNotAnArray",
            ["another MCP client's list", "start programs", "not done here"],
        ),
        (
            '{"mcp_url": "https://docs.example.com/mcp", "credentials": "%s"}' % CANARY,
            "SecretNotAnArray",
            ["console's key/value", "Plaintext", '[{"mcp_url": "https://docs.example.com/mcp"}]'],
        ),
        (CANARY, "SecretNotJson", ["line 1"]),
        (json.dumps(json.dumps([{"a": CANARY}])), "SecretNotAnArray", ["inside quotes"]),
    ],
)
def test_a_malformed_secret_is_an_error_with_a_place_and_no_content(backend, text, error_type, parts):
    broken = backend(text or " ")
    with pytest.raises(Failed) as failed:
        broken.agents()
    assert failed.value.type == error_type
    for part in parts:
        assert part in str(failed.value)
    assert CANARY not in str(failed.value)
    assert CANARY not in "\n".join(broken.log_lines())


def test_a_missing_secret_is_an_error_that_says_what_to_do(backend):
    with pytest.raises(Failed, match="create it holding") as failed:
        backend(None).agents()
    assert failed.value.type == "SecretNotFound"


@pytest.mark.parametrize(
    ("bad", "warning"),
    [
        (None, "entry 1: is not an object"),
        ([], "entry 1: is not an object"),
        ({}, "entry 1, field mcp_url: is missing"),
        ({"mcp_url": 7}, "entry 1, field mcp_url: is not a text"),
        ({"mcp_url": "not a url"}, "entry 1, field mcp_url: is not a URL"),
        ({"mcp_url": "ftp://a.example"}, "entry 1, field mcp_url: does not begin"),
        ({"mcp_url": "https://a.example", "cognito_username": "u"}, "field cognito_password: is missing"),
        ({"mcp_url": "https://a.example", "transport": "websocket"}, "field transport: websocket is not supported"),
    ],
)
def test_a_bad_entry_is_skipped_with_a_warning_and_the_others_listed(backend, server, bad, warning):
    mixed = backend([bad, {"mcp_url": server().url, "agent_name": "good"}])
    assert statuses(mixed.agents()) == {"good": "available"}
    [event] = [e for e in mixed.log_events("External MCP: entry skipped") if warning in e["diagnostic"]]
    assert event["level"] == "WARN"


def test_an_unknown_field_is_warned_about_with_the_nearest(backend, server):
    odd = backend([{"mcp_url": server().url, "agent_nam": "x"}])
    assert [agent["status"] for agent in odd.agents()] == ["available"]
    [event] = odd.log_events("External MCP: entry used all the same")
    assert "did you mean agent_name?" in event["diagnostic"]


# Signing in


def test_a_server_behind_cognito_is_signed_in_to_once(backend, server, world):
    first, second = server(require_auth=True), server(require_auth=True)
    pool = world.pool()
    both = backend([pool.entry(first.url), pool.entry(second.url)])
    assert set(statuses(both.agents()).values()) == {"available"}
    assert both.calls("InitiateAuth") == 1, "one sign-in for one credential"


def test_a_pool_in_another_region_works(backend, server, world):
    pool = world.pool(region="eu-west-3")
    assert pool.id.startswith("eu-west-3_")
    [agent] = backend([pool.entry(server(require_auth=True).url)]).agents()
    assert agent["status"] == "available"


def test_an_app_client_with_a_secret_works(backend, server, world):
    pool = world.pool(client_secret=True)
    assert pool.client_secret
    [agent] = backend([pool.entry(server(require_auth=True).url)]).agents()
    assert agent["status"] == "available"


def test_a_wrong_password_is_named_by_cognitos_code(backend, server, world):
    guarded = server(require_auth=True)
    wrong = backend([world.pool().entry(guarded.url, cognito_password="Wrong-1!aaaa")])
    [agent] = wrong.agents()
    assert agent["status"] == "unavailable"
    assert "NotAuthorizedException" in agent["status_reason"] and "cognito_password" in agent["status_reason"]
    assert guarded.requests == 0, "without a sign-in the server is not contacted"
    wrong.agents()
    assert wrong.calls("InitiateAuth") == 1, "a wrong password is not tried again at once"


def test_a_challenge_is_named_with_its_remedy(backend, server, world):
    pool = world.pool(password="")
    [agent] = backend([pool.entry(server().url, cognito_password="Temporary1!")]).agents()
    assert agent["status"] == "unavailable"
    assert "NEW_PASSWORD_REQUIRED" in agent["status_reason"]
    assert "admin-set-user-password --permanent" in agent["status_reason"]


def test_a_garbled_pool_id_sends_the_password_nowhere(backend, server, world):
    entry = world.pool().entry(server().url, cognito_user_pool_id="evil.example#_x")
    garbled = backend([entry])
    assert garbled.agents() == []
    assert garbled.calls("InitiateAuth") == 0


def test_a_rotated_password_is_used_at_once_when_asked_anew(backend, server, world):
    guarded, pool = server(require_auth=True), world.pool()
    rotated = backend([pool.entry(guarded.url)])
    assert rotated.agents()[0]["status"] == "available"
    pool.set_password("Rotated-Pass-2!")
    rotated.put_secret([pool.entry(guarded.url)])
    guarded.revoke()
    assert rotated.agents({"arguments": {"refresh": True}})[0]["status"] == "available"
    assert guarded.seen["tokens"] == 2


def test_a_server_that_refuses_the_token_has_its_own_error(backend, server, world):
    [agent] = backend([world.pool().entry(server(status=401).url)]).agents()
    assert "401" in agent["status_reason"]
    [agent] = backend([world.pool().entry(server(status=403).url)]).agents()
    assert "403" in agent["status_reason"]


# Faults


FAULTS = {
    "http error": ({"status": 503}, "503"),
    "redirect": ({"status": 307}, "redirect"),
    "a web page": ({"body": "html"}, "does not speak MCP"),
    "garbled JSON": ({"body": "garbled"}, "not JSON"),
    "other JSON": ({"body": "other_json"}, "not JSON-RPC"),
    "nothing": ({"body": "empty"}, "does not speak MCP"),
    "nine megabytes": ({"body": "huge"}, "larger than"),
    "a million values": ({"body": "many_values"}, "more than 200,000 values"),
    "hangs at once": ({"hang_on": "*"}, "no answer within 2.0 s"),
    "hangs while listing": ({"hang_on": "tools/list"}, "no answer within 2.0 s"),
}


def test_faulty_servers_cost_the_list_nothing_but_their_own_part(backend, server):
    entries = [{"mcp_url": server(**behaviour).url, "agent_name": name} for name, (behaviour, _) in FAULTS.items()]
    entries.append({"mcp_url": "http://127.0.0.1:1/mcp", "agent_name": "down"})
    entries.append({"mcp_url": "https://no-such-host.invalid/mcp", "agent_name": "no name"})
    entries.insert(5, {"mcp_url": server().url, "agent_name": "good"})
    started = time.monotonic()
    agents = {a["agent_name"]: a for a in backend(entries, DISCOVERY_TIMEOUT_SECONDS="2").agents()}
    assert time.monotonic() - started < 8
    assert agents.pop("good")["status"] == "available"
    expected = {name: part for name, (_, part) in FAULTS.items()}
    for name, part in (expected | {"down": "no connection", "no name": "does not resolve"}).items():
        assert agents[name]["status"] == "unavailable", name
        assert part in agents[name]["status_reason"], (name, agents[name]["status_reason"])
        assert "\n" not in agents[name]["status_reason"]


def test_a_malformed_tool_is_left_out_and_its_neighbours_stay(backend, server):
    page = [tool("first"), {"name": "no-schema"}, {"inputSchema": {}}, None, tool("last")]
    for event_stream in (False, True):
        [agent] = backend([{"mcp_url": server(pages=[page], event_stream=event_stream).url}]).agents()
        assert agent["tools"] == ["first", "last"]
        assert agent["status"] == "available"
        assert "tool 2 of a page has no inputSchema" in agent["status_reason"]


def test_a_server_that_hangs_when_its_session_ends_costs_nothing(backend, server):
    slow = server(sessions=True, hang_on="DELETE")
    [agent] = backend([{"mcp_url": slow.url}], DISCOVERY_TIMEOUT_SECONDS="1").agents()
    assert agent["status"] == "available"


def test_names_too_long_for_any_use_are_left_out(backend, server):
    [agent] = backend([{"mcp_url": server(pages=[[tool("x" * 257), tool("x" * 256)]]).url}]).agents()
    assert agent["tools"] == ["x" * 256]
    assert "longer than 256 characters" in agent["status_reason"]


def test_a_token_revoked_while_listing_is_renewed_once(backend, server, world):
    revoking = server(require_auth=True, revoke_at="tools/list")
    revoked = backend([world.pool().entry(revoking.url)])
    assert revoked.agents()[0]["status"] == "available"
    assert (revoked.calls("InitiateAuth"), revoking.seen["tokens"]) == (2, 2)


def test_the_deadline_follows_from_the_invocations_time(backend, server):
    hanging = backend([{"mcp_url": server(hang_on="*").url}, {"mcp_url": server().url}])
    agents = hanging.agents(timeout=4)
    assert [agent["status"] for agent in agents] == ["unavailable", "available"]


def test_an_emptied_server_is_a_fault_and_keeps_its_tools(backend, server):
    emptied = server()
    listed = backend([{"mcp_url": emptied.url}], TOOL_CACHE_TTL_SECONDS="1")
    listed.agents()
    emptied.behave(pages=[[]])
    time.sleep(1.1)
    [agent] = listed.agents()
    assert (agent["status"], agent["tools"]) == ("stale", ["echo"])
    assert "lists no tools, although it had 1 before" in agent["status_reason"]


# Addresses


def test_private_addresses_must_be_allowed_and_metadata_addresses_never_are(backend, server):
    good = server()
    entries = [
        {"mcp_url": good.url, "agent_name": "literal"},
        {"mcp_url": good.url.replace("127.0.0.1", "localhost"), "agent_name": "by name"},
        {"mcp_url": good.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"), "agent_name": "mapped"},
        {"mcp_url": "http://169.254.169.254/latest/meta-data", "agent_name": "metadata"},
    ]
    for policy, reached in (("", set()), ("10.0.0.0/8", set()), ("127.0.0.0/8", {"literal", "by name", "mapped"})):
        agents = backend(entries, ALLOW_PRIVATE_MCP_SERVERS=policy, CATALOG_TABLE="").agents()
        available = {agent["agent_name"] for agent in agents if agent["status"] == "available"}
        # A machine without IPv6 cannot reach a mapped address, allowed or not.
        assert available | {"mapped"} == reached | {"mapped"}, policy
        refused = [agent for agent in agents if agent["agent_name"] not in reached]
        assert all("ALLOW_PRIVATE_MCP_SERVERS" in agent["status_reason"] for agent in refused), policy


# The cache


def test_within_the_ttl_no_server_is_contacted_and_after_it_once(backend, server, world):
    good = server(require_auth=True)
    cached = backend([world.pool().entry(good.url)], TOOL_CACHE_TTL_SECONDS="3")
    cached.agents()
    asked, signed_in = good.requests, cached.calls("InitiateAuth")
    assert (good.seen["requests"]["tools/list"], signed_in) == (1, 1)
    for _ in range(5):
        cached.agents()
    assert (good.requests, cached.calls("InitiateAuth")) == (asked, signed_in)
    assert cached.calls("GetSecretValue") == 1, "the secret is read once a minute"
    assert cached.calls("BatchGetItem") == 1, "one read for the catalog, and none while it is fresh"
    time.sleep(3)
    cached.agents()
    assert good.seen["requests"]["tools/list"] == 2
    assert cached.calls("InitiateAuth") == 1, "the token is good for longer than the list"


def test_an_environment_restarted_within_the_ttl_contacts_no_server(backend, server, world):
    good = server(require_auth=True)
    restarted = backend([world.pool().entry(good.url)])
    before = restarted.agents()
    asked = good.requests
    restarted.go_cold()
    assert restarted.agents() == before
    assert (good.requests, restarted.calls("InitiateAuth")) == (asked, 1)


def test_stale_tools_survive_a_restart(backend, server):
    failing = server()
    restarted = backend([{"mcp_url": failing.url}], TOOL_CACHE_TTL_SECONDS="1")
    restarted.agents()
    failing.behave(status=503)
    time.sleep(1.1)
    restarted.go_cold()
    [agent] = restarted.agents()
    assert (agent["status"], agent["tools"]) == ("stale", ["echo"])
    assert "503" in agent["status_reason"]


def test_without_a_catalog_table_the_cache_is_in_the_process(backend, server):
    good = server()
    alone = backend([{"mcp_url": good.url}], CATALOG_TABLE="")
    alone.agents(), alone.agents()
    assert good.seen["requests"]["tools/list"] == 1
    assert alone.calls("BatchGetItem") + alone.calls("PutItem") == 0


def test_a_failed_server_is_not_asked_again_during_its_pause(backend, server):
    failing = server(status=503)
    patient = backend([{"mcp_url": failing.url}])
    patient.agents()
    asked = failing.requests
    patient.agents()
    assert failing.requests == asked
    failing.behave()
    assert patient.agents()[0]["status"] == "unavailable", "its pause is not over"


def test_refresh_bypasses_every_cache_but_not_twice_in_30_seconds(backend, server):
    changing = server()
    refreshed = backend([{"mcp_url": changing.url}])
    refreshed.agents()
    changing.behave(pages=[[tool("new")]])
    added = server()
    refreshed.put_secret([{"mcp_url": changing.url}, {"mcp_url": added.url}])
    assert len(refreshed.agents()) == 1, "the secret is kept for a minute"
    agents = refreshed.agents({"arguments": {"refresh": True}})
    assert [agent["tools"] for agent in agents] == [["new"], ["echo"]]
    asked = changing.requests
    refreshed.agents({"arguments": {"refresh": True}})
    assert changing.requests == asked


def test_refresh_asks_a_server_in_its_pause(backend, server):
    mended = server(status=503)
    waiting = backend([{"mcp_url": mended.url}])
    waiting.agents()
    mended.behave()
    assert waiting.agents({"arguments": {"refresh": True}})[0]["status"] == "available"


def test_servers_are_told_apart_by_credential(backend, server, world):
    """Tools that one credential sees are never shown to the user of another entry."""
    shared = server(require_auth=True)
    first, second = world.pool(), world.pool()
    backend([first.entry(shared.url)]).agents()
    asked = shared.requests
    backend([second.entry(shared.url)]).agents()
    assert shared.requests > asked


# Who may list


def test_sample_events_are_answered_as_their_names_say(backend):
    listed = backend()
    for case, event in samples("list-available-agents").items():
        if case in ("resolver-no-group", "resolver-api-key"):
            with pytest.raises(Failed) as failed:
                listed.agents(event)
            assert failed.value.type == "Unauthorized"
        else:
            assert listed.agents(event) == []


def test_words_of_extra_headers_stay_in_the_names_of_tools(backend, server):
    called = server(pages=[[tool("get_production_orders", description="Orders of production")]])
    asked = backend([{"mcp_url": called.url, "agent_name": "helper", "extra_headers": {"X-Client": "production"}}])
    [agent] = asked.agents()
    assert agent["tools"] == ["get_production_orders"]
    _, job = asked.ask(script({"call": "get_production_orders"}, {"say": "Got {result}"}), ["helper"])
    assert job["status"] == "COMPLETED" and called.seen["calls"]


def test_names_of_control_characters_do_not_make_the_list_too_large(backend, stands):
    """Each is six bytes in the answer. The limit must count them so, or the answer is too large for Lambda."""
    counts = (1_000, 1_200, 1_000, 1)
    servers = [stands(PlainServer, tools=["\u0001" * 250 + str(n) for n in range(count)]) for count in counts]
    agents = backend([{"mcp_url": each.url, "agent_name": f"a{n}"} for n, each in enumerate(servers)]).agents()
    assert [len(agent["tools"]) for agent in agents] == [1_000, 0, 1_000, 1]
    assert agents[1]["status_reason"] == "its 1200 tools are not named: the list would be too large"


def test_large_lists_of_many_servers_are_not_in_memory_at_once(backend, server):
    """16 lists of 1.4 MB in parallel need 521 MB, and the function has 256 MB; parsing one list needs about 30 MB."""
    tools = [tool(f"t{n}", description="x " * 1_000) for n in range(700)]
    servers = [server(pages=[tools]) for _ in range(16)]
    asked = backend([{"mcp_url": each.url, "agent_name": f"a{n}"} for n, each in enumerate(servers)])
    assert [len(agent["tools"]) for agent in asked.agents(timeout=60)] == [700] * 16
    [process] = asked.processes("ListAvailableAgentsFunctionArn")
    peak = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    assert int(peak.split()[1]) < 200_000, peak
