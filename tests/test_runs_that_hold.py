"""The deployed AgentProcessor: several agents, budgets, time limits, claims and transcripts."""

import contextlib
import gzip
import json
import os
import signal
import threading
import time

import pytest

from tests.support import Failed, at_once, script, tool, wait_for

READS = {"annotations": {"readOnlyHint": True}}


def messages(job):
    return json.loads(job["agent_messages"])


def content(job):
    return json.loads(job["result"])["content"]


def team(backend, server, names, **environment):
    """Creates a backend with these agents, each with its own server. Returns it and the servers by name."""
    servers = {name: server() for name in names}
    entries = [{"mcp_url": each.url, "agent_name": name} for name, each in servers.items()]
    return backend(entries, **environment), servers


def delegate(**queries):
    """Returns a script step that asks several agents at once."""
    return {"calls": [{"call": name, "with": {"query": query}} for name, query in queries.items()]}


# Several agents


def test_two_agents_answer_parts_of_one_query(backend, server):
    asked, servers = team(backend, server, ["one", "two"])
    part = script({"call": "echo", "with": {"text": "hi"}}, {"say": "Got {result}"})
    _, job = asked.ask(script(delegate(one=part, two=part), {"say": "Both: {result}"}), ["one", "two"])
    assert content(job) == 'Both: Got {"text":"hi"}'
    assert [each.seen["calls"] for each in servers.values()] == [[{"text": "hi"}]] * 2
    numbers = [message["sequence_number"] for message in messages(job)]
    assert numbers == list(range(1, len(numbers) + 1))
    by_agent = {agent: [m["role"] for m in messages(job) if m.get("agent_id") == agent] for agent in ("one", "two")}
    assert by_agent["one"] == by_agent["two"] == ["user", "assistant", "tool", "assistant"]
    assert [m["role"] for m in messages(job) if "agent_id" not in m] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]


def test_agents_are_described_with_their_tools(backend, server):
    asked, _ = team(backend, server, ["one", "two words"])
    _, job = asked.ask(script({"say": "{tools}"}), ["one", "two_words"])
    assert content(job) == "one,two_words"


def test_one_agent_that_fails_leaves_the_others_answers(backend, server):
    asked, servers = team(backend, server, ["good", "dead"])
    servers["dead"].behave(status=503)
    query = script(delegate(good=script({"say": "Fine"})), delegate(dead="hello"), {"say": "{status}: {result}"})
    _, job = asked.ask(query, ["good", "dead"])
    assert job["status"] == "COMPLETED"
    assert content(job).startswith("error: The agent could not answer: agent dead: ") and "503" in content(job)


def test_an_agent_that_takes_too_long_is_an_error_result(backend, server):
    asked, servers = team(backend, server, ["quick", "slow"], SUBAGENT_TIMEOUT_SECONDS="1")
    servers["slow"].behave(hang_on="tools/list")
    started = time.monotonic()
    _, job = asked.ask(
        script(delegate(quick=script({"say": "Fine"}), slow="hello"), {"say": "{result}"}), ["quick", "slow"]
    )
    assert time.monotonic() - started < 10
    assert "ran out of time after 1 s in listing tools" in content(job)
    assert "SUBAGENT_TIMEOUT_SECONDS" in content(job)


def test_an_agents_table_passes_through_whole(backend, server):
    table = {
        "responseType": "table",
        "headers": [{"id": "a"}],
        "rows": [{"id": str(n), "data": {"a": "x" * 500}} for n in range(40)],
    }
    asked, _ = team(backend, server, ["one", "two"], MAX_TOOL_RESULT_BYTES="1000")
    _, job = asked.ask(script(delegate(one=script({"say": json.dumps(table)})), {"say": "{result}"}), ["one", "two"])
    assert json.loads(job["result"])["tableData"] == table


def test_an_unknown_agent_fails_the_job_at_once(backend, server):
    asked, servers = team(backend, server, ["one", "two"])
    answer, job = asked.ask("hi", ["one", "nobody"])
    assert answer["statusCode"] == 500
    assert "there is no agent nobody: there are one, two" in job["error"]
    assert all(each.requests == 0 for each in servers.values())


def test_twelve_agents_at_once_lose_no_message(backend, server):
    names = [f"agent-{n}" for n in range(12)]
    asked, _ = team(backend, server, names)
    part = script({"call": "echo"}, {"call": "echo"}, {"say": "Done"})
    _, job = asked.ask(script(delegate(**dict.fromkeys(names, part)), {"say": "All"}), names)
    assert job["status"] == "COMPLETED"
    told = messages(job)
    assert [m["sequence_number"] for m in told] == list(range(1, 12 * 6 + 12 + 4))
    for name in names:
        roles = [m["role"] for m in told if m.get("agent_id") == name]
        assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]


# Tools for the model


def test_names_bedrock_would_refuse_are_mended(backend, server):
    names = ["target___" + "x" * 200, "target___" + "x" * 201, "päth/one", "fine"]
    asked = backend([{"mcp_url": server(pages=[[tool(name) for name in names]]).url, "agent_name": "helper"}])
    _, job = asked.ask(script({"say": "{tools}"}), ["helper"])
    shown = content(job).split(",")
    assert len(set(shown)) == 4 and shown[3] == "fine" and all(len(name) <= 64 for name in shown)


def test_a_tool_bedrock_would_refuse_is_left_out_and_the_list_says_so(backend, server):
    odd = tool("odd", inputSchema={"type": "string"})
    asked = backend([{"mcp_url": server(pages=[[odd, tool("fine")]]).url, "agent_name": "helper"}])
    _, job = asked.ask(script({"say": "{tools}"}), ["helper"])
    assert content(job) == "fine"
    [agent] = asked.agents()
    assert agent["status"] == "available" and "left out: the tool odd" in agent["status_reason"], agent


def test_arguments_that_do_not_fit_go_back_to_the_model(backend, server):
    adder = tool("add", inputSchema={"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]})
    strict = server(pages=[[adder]])
    asked = backend([{"mcp_url": strict.url, "agent_name": "helper"}])
    _, job = asked.ask(script({"call": "add", "with": {"a": "x"}}, {"say": "{status}: {result}"}), ["helper"])
    assert content(job).startswith("error: The arguments do not fit") and "/a" in content(job)
    assert strict.seen["calls"] == [], "the server never hears of it"


def test_a_2_mb_result_is_cut_with_a_marker(backend, server):
    text = "y" * 2_000_000
    large = server(calls={"echo": {"result": {"content": [{"type": "text", "text": text}]}}})
    asked = backend([{"mcp_url": large.url, "agent_name": "helper"}])
    _, job = asked.ask(script({"call": "echo"}, {"say": "{bytes}"}), ["helper"])
    assert 100_000 < int(content(job)) < 100_100
    _, job = asked.ask(script({"call": "echo"}, {"say": "{result}"}), ["helper"])
    assert content(job).endswith("[cut here: 1900000 more bytes are missing]")


# Runs that end: faults of the model


def test_a_throttled_model_is_asked_again_and_the_transcript_says_so(backend, server):
    asked, _ = team(backend, server, ["helper"])
    fault = {"status": 429, "type": "ThrottlingException", "message": "Too many tokens", "times": 3}
    event = asked.submit(script({"fault": fault, "say": "At last"}), ["helper"])
    asked.process(event)
    job = asked.job(event)
    assert content(job) == "At last"
    exceptions = [m for m in messages(job) if m["role"] == "exception"]
    assert [m["message_type"] for m in exceptions] == ["throttling_exception"] * 3
    assert exceptions[0]["throttling_details"] == {
        "error_code": "ThrottlingException",
        "error_message": "Too many tokens",
        "exception_type": "ThrottlingException",
        "job_id": event["jobId"],
        "user_id": "alice",
    }


def test_a_failing_model_is_asked_again_and_a_refusing_one_is_not(backend, server):
    asked, _ = team(backend, server, ["helper"])
    passing = {"status": 503, "type": "ServiceUnavailableException", "times": 1}
    _, job = asked.ask(script({"fault": passing, "say": "At last"}), ["helper"])
    assert content(job) == "At last"
    refusing = {"status": 403, "type": "AccessDeniedException", "times": 1}
    _, job = asked.ask(script({"fault": refusing, "say": "never"}), ["helper"])
    assert "AccessDeniedException" in job["error"] and "enable access to the model" in job["error"]


def test_a_full_context_loses_its_oldest_results_first(backend, server):
    asked, _ = team(backend, server, ["helper"])
    fault = {
        "status": 400,
        "type": "ValidationException",
        "message": "Input is too long for requested model.",
        "times": 2,
    }
    calls = [{"call": "echo", "with": {"n": n}} for n in range(2)]
    _, job = asked.ask(script(*calls, {"fault": fault, "say": "{result}"}), ["helper"])
    assert content(job) == "[result elided: 7 bytes, to make room]"
    _, job = asked.ask(script({"fault": fault, "say": "never"}), ["helper"])
    assert "no longer fits into the model's context" in job["error"]


def test_a_lost_model_fails_the_job_within_its_time(backend, server):
    asked, _ = team(backend, server, ["helper"])
    fault = {"status": 429, "type": "ThrottlingException"}
    _, job = asked.ask(script({"fault": fault}), ["helper"], timeout=6)
    assert job["status"] == "FAILED" and "ran out of time after 3 s in waiting for the model" in job["error"]


def test_a_guardrail_goes_with_every_call_of_the_model(backend, server):
    asked, _ = team(backend, server, ["helper"], GUARDRAIL_ID_AND_VERSION="gr-1:DRAFT")
    _, job = asked.ask(script({"say": "{guardrail}"}), ["helper"])
    applied = json.loads(content(job))
    assert (applied["guardrailIdentifier"], applied["guardrailVersion"]) == ("gr-1", "DRAFT")


# Runs that end: budgets and time


FOR_EVER = {"call": "echo", "with": {}, "repeat": 500}


@pytest.mark.parametrize(
    ("variable", "limit"),
    [("MAX_MODEL_TURNS", 3), ("MAX_TOOL_CALLS", 3), ("MAX_INPUT_TOKENS", 250), ("MAX_OUTPUT_TOKENS", 25)],
)
def test_each_budget_ends_the_job_and_is_named(backend, server, variable, limit):
    asked, servers = team(backend, server, ["helper"], **{variable: str(limit)})
    answer, job = asked.ask(script(FOR_EVER), ["helper"])
    assert answer["statusCode"] == 500
    assert f"the budget {variable} of {limit} is used up" in job["error"]
    assert len(servers["helper"].seen["calls"]) == 3
    assert messages(job)[0]["role"] == "user", "the transcript is kept"


def test_sub_agents_spend_from_the_jobs_budget(backend, server):
    asked, servers = team(backend, server, ["one", "two"], MAX_TOOL_CALLS="6")
    part = script(FOR_EVER)
    _, job = asked.ask(script(delegate(one=part, two=part), {"say": "never"}), ["one", "two"])
    assert job["status"] == "FAILED" and "MAX_TOOL_CALLS of 6" in job["error"]
    assert sum(len(each.seen["calls"]) for each in servers.values()) == 4, "two calls were the agents' own"


def test_the_budget_of_time_is_named(backend, server):
    asked, servers = team(backend, server, ["helper"], MAX_RUN_SECONDS="1")
    servers["helper"].behave(hang_on="tools/call")
    _, job = asked.ask(script({"call": "echo"}, {"say": "never"}), ["helper"])
    assert "ran out of time after 1 s in tool echo" in job["error"] and "MAX_RUN_SECONDS" in job["error"]


# Runs that end: claims


def start(backend, event):
    """Delivers an event without waiting for its answer."""

    def deliver():
        with contextlib.suppress(Failed):
            backend.process(event)

    thread = threading.Thread(target=deliver, daemon=True)
    thread.start()
    return thread


def kill_environments(backend):
    """Kills the function's processes, as a crash or a lack of memory would."""
    for process in backend.processes("AgentProcessorFunctionArn"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process.name), signal.SIGKILL)


def cut_off(backend, server, annotations):
    """Kills a run while it calls a tool. Returns the backend, the server and the job's event."""
    called = server(pages=[[tool("act", **annotations)]], hang_on="tools/call")
    asked = backend([{"mcp_url": called.url, "agent_name": "helper"}], JOB_LEASE_SECONDS="2")
    event = asked.submit(script({"call": "act"}, {"say": "Done"}), ["helper"])
    delivery = start(asked, event)
    wait_for(lambda: called.seen["calls"])
    kill_environments(asked)
    delivery.join(timeout=30)
    called.behave(pages=[[tool("act", **annotations)]])
    assert asked.job(event)["status"] == "PROCESSING", "nobody has ended it yet"
    return asked, called, event


def test_a_killed_run_that_only_read_is_taken_over_once(backend, server):
    asked, called, event = cut_off(backend, server, READS)
    time.sleep(2.2)
    answers = at_once(3, lambda: asked.process(event))
    assert [answer["status"] for answer in answers].count("COMPLETED") >= 1
    assert asked.job(event)["status"] == "COMPLETED"
    assert asked.job(event)["attempt"] == "2"
    assert len(called.seen["calls"]) == 2


def test_a_killed_run_that_may_have_changed_something_is_not_repeated(backend, server):
    asked, called, event = cut_off(backend, server, {})
    time.sleep(2.2)
    answer = asked.process(event)
    job = asked.job(event)
    assert answer["statusCode"] == 500 and job["status"] == "FAILED"
    assert "it had called act, which may have changed something" in job["error"]
    assert len(called.seen["calls"]) == 1


def test_a_run_longer_than_its_lease_keeps_its_job(backend, server):
    asked, servers = team(backend, server, ["helper"], JOB_LEASE_SECONDS="1")
    event = asked.submit(script({"wait_ms": 3500, "say": "Done"}), ["helper"])
    delivery = start(asked, event)
    for _ in range(3):
        time.sleep(1)
        assert asked.process(event)["status"] == "PROCESSING"
    delivery.join(timeout=30)
    assert asked.job(event)["status"] == "COMPLETED" and asked.job(event)["attempt"] == "1"
    assert servers["helper"].seen["requests"]["initialize"] == 1


def test_a_job_of_the_originals_processor_is_left_to_it(backend, server):
    asked, servers = team(backend, server, ["helper"])
    event = asked.submit("hi", ["helper"], status={"S": "PROCESSING"})
    assert asked.process(event)["status"] == "PROCESSING"
    assert servers["helper"].requests == 0


def test_a_deleted_job_cancels_its_run_and_does_not_come_back(backend, server, world):
    asked, servers = team(backend, server, ["helper"], JOB_LEASE_SECONDS="1")
    waiting = {"call": "echo", "with": {}, "wait_ms": 300, "repeat": 50}
    event = asked.submit(script(waiting), ["helper"])
    delivery = start(asked, event)
    wait_for(lambda: servers["helper"].seen["calls"])
    key = {"PK": {"S": "agent#alice"}, "SK": {"S": event["jobId"]}}
    world.dynamodb.delete_item(TableName=asked.table, Key=key)
    delivery.join(timeout=10)
    assert not delivery.is_alive(), "the run ends when its job is gone"
    assert len(servers["helper"].seen["calls"]) < 50
    assert asked.job(event) == {}


# Records


def test_a_reader_sees_progress(backend, server):
    asked, _ = team(backend, server, ["helper"])
    event = asked.submit(script({"call": "echo"}, {"wait_ms": 3000, "say": "Done"}), ["helper"])
    delivery = start(asked, event)
    seen = wait_for(lambda: asked.job(event) if "agent_messages" in asked.job(event) else None)
    assert seen["status"] == "PROCESSING" and len(messages(seen)) == 3
    delivery.join(timeout=30)
    assert len(messages(asked.job(event))) == 4


def test_300_messages_of_10_kb_fit_and_are_kept_whole(backend, server, world):
    asked, _ = team(backend, server, ["helper"], MAX_MODEL_TURNS="400")
    expires = {"ExpiresAfter": {"N": "4102444800"}}
    event = asked.submit(
        script({"call": "echo", "padding": 20_000, "repeat": 149}, {"say": "Done"}), ["helper"], **expires
    )
    asked.process(event)
    job = asked.job(event)
    assert job["status"] == "COMPLETED", job.get("error")
    assert len(messages(job)) == 300
    assert [m["sequence_number"] for m in messages(job)] == list(range(1, 301))
    elided = messages(job)[1]["content"][0]["toolUse"]["input"]["padding"]
    assert elided.endswith("[elided here: 19800 more bytes]")
    pieces = world.dynamodb.query(
        TableName=asked.table,
        KeyConditionExpression="PK = :pk",
        ExpressionAttributeValues={":pk": {"S": f"transcript#{event['jobId']}"}},
    )["Items"]
    assert all(piece["ExpiresAfter"] == expires["ExpiresAfter"] for piece in pieces)
    whole = json.loads(gzip.decompress(b"".join(piece["messages"]["B"] for piece in pieces)))
    assert len(whole) == 300
    assert whole[1]["content"][0]["toolUse"]["input"]["padding"] == "x" * 20_000


def test_usage_is_on_the_job_and_in_the_metrics(backend, server):
    asked, servers = team(backend, server, ["helper"])
    _, job = asked.ask(script({"call": "echo"}, {"call": "echo"}, {"say": "Done"}), ["helper"])
    usage = json.loads(job["usage"])
    assert (usage["inputTokens"], usage["outputTokens"], usage["modelTurns"]) == (300, 30, 3)
    assert usage["toolCalls"] == {servers["helper"].url: 2}
    assert set(usage["milliseconds"]) == {"connecting", "listingTools", "model", "tools"}
    [metrics] = [json.loads(line) for line in asked.log_lines() if '"_aws"' in line]
    assert (metrics["agent"], metrics["status"], metrics["Runs"]) == ("helper", "COMPLETED", 1)
    assert metrics["ToolCalls"] == 2 and metrics["InputTokens"] == 300
