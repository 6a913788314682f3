"""`mcp-agents ask`: runs in the process of the command line, without a job, a table or a deployed function."""

import json
import os
import pty
import re
import signal
import subprocess

import pytest

from local.processes import TARGET, StandIn
from tests.lab import AuthorizationServer, ProtectedServer, follow
from tests.support import CANARY, script, tool, wait_for

READS = {"annotations": {"readOnlyHint": True}}


@pytest.fixture(scope="module")
def bedrock():
    """Starts a scripted model with the Converse API, and returns its URL."""
    model = StandIn("model")
    yield model.url
    model.stop()


@pytest.fixture
def server(server_alone):
    """Makes an MCP server without a local AWS: `server(**behaviour)`."""
    return server_alone


@pytest.fixture
def ask(line, bedrock):
    """Runs `ask`: `ask(agent, …, question, *options, **environment)`."""
    line.environment |= {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock, "BEDROCK_MODEL_ID": "scripted-stand-in"}
    for name in ("AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "NO_COLOR"):
        line.environment.pop(name, None)

    def run(*arguments, **environment):
        return line.run("ask", *arguments, **environment)

    return run


def entry(server, name="notes", **fields) -> dict:
    return {"mcp_url": server.url, "agent_name": name, "auth_type": "none"} | fields


# Answers


def test_the_answer_is_on_standard_output_and_the_transcript_beside_it(line, ask, server):
    notes = server(pages=[[tool("read", **READS)]])
    line.put(entry(notes))
    question = script({"call": "read", "with": {"of": "Ada"}}, {"say": "It says {result}.\nThat is all."})
    done = ask("notes", question)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("It says ") and done.stdout.endswith(".\nThat is all.\n")
    said = done.stderr.splitlines()
    assert [each.split()[0] for each in said] == ["user", "assistant", "tool", "assistant"]
    assert said[1] == 'assistant  calls read {"of":"Ada"}' and "success" in said[2]
    assert notes.seen["requests"]["tools/call"] == 1


def test_a_table_is_a_table_and_a_chart_too(line, ask, server):
    line.put(entry(server()))
    table = {
        "responseType": "table",
        "headers": [{"id": "n", "label": "Name"}, {"id": "v", "label": "Value"}],
        "rows": [{"id": "1", "data": {"n": "a", "v": 1}}],
    }
    done = ask("notes", script({"say": json.dumps(table)}))
    assert [re.split(r"\s*\|\s*", row)[1:-1] for row in done.stdout.splitlines()] == [
        ["Name", "Value"],
        ["------", "-------"],
        ["a", "1"],
    ]
    chart = {"responseType": "plotData", "type": "bar"}
    chart["data"] = {"labels": ["May"], "datasets": [{"label": "Sales", "data": [7]}]}
    shown = ask("notes", script({"say": json.dumps(chart)})).stdout
    assert re.search(r"\| +\| Sales \|", shown) and re.search(r"\| May +\| 7 +\|", shown)


def test_json_holds_answer_transcript_and_usage(line, ask, server):
    line.put(entry(server(pages=[[tool("read", **READS)]])))
    done = ask("notes", script({"call": "read"}, {"say": "Done."}), "--json")
    assert done.returncode == 0 and done.stderr == ""
    told = json.loads(done.stdout)
    assert told["answer"]["responseType"] == "text" and told["answer"]["content"] == "Done."
    assert [message["role"] for message in told["transcript"]] == ["user", "assistant", "tool", "assistant"]
    assert told["usage"]["modelTurns"] == 2 and sum(told["usage"]["toolCalls"].values()) == 1


def test_several_agents_are_asked_by_one_model(line, ask, server):
    line.put(entry(server(), "one"), entry(server(), "two"))
    calls = [{"call": name, "with": {"query": script({"say": f"I am {name}."})}} for name in ("one", "two")]
    done = ask("one", "two", script({"calls": calls}, {"say": "They say: {results}"}), "--json")
    told = json.loads(done.stdout)
    assert told["answer"]["content"] == "They say: I am one. | I am two."
    assert {message.get("agent_id") for message in told["transcript"]} == {None, "one", "two"}


def test_the_run_keeps_to_the_budgets_of_a_job(line, ask, server):
    line.put(entry(server(pages=[[tool("read", **READS)]])))
    question = script({"call": "read", "repeat": 9}, {"say": "Done."})
    done = ask("notes", question, "--json", MAX_TOOL_CALLS="2")
    assert done.returncode == 1
    assert "MAX_TOOL_CALLS of 2 is used up" in json.loads(done.stdout)["error"]


def test_a_server_that_needs_a_sign_in_is_used_with_the_stored_tokens(line, ask, stands):
    auth = stands(AuthorizationServer)
    notes = stands(ProtectedServer, auth)
    line.put({"mcp_url": notes.url, "agent_name": "notes", "auth_type": "oauth2"})
    done = ask("notes", script({"say": "{tools}"}))
    assert done.returncode == 1 and "mcp-agents: there is no answer: agent notes: " in done.stderr
    pending = line.start("login", "notes")
    pending.open_redirect_uri(follow(pending.url))
    assert pending.done().returncode == 0
    done = ask("notes", script({"say": "{tools}"}))
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    assert not [secret for secret in auth.secrets if secret in line.printed]


# Tools that may change something


def test_without_confirm_every_tool_is_called(line, ask, server):
    notes = server(pages=[[tool("write")]])
    line.put(entry(notes))
    assert ask("notes", script({"call": "write"}, {"say": "{status}"})).stdout == "success\n"
    assert notes.seen["requests"]["tools/call"] == 1


def test_with_confirm_and_without_a_terminal_only_read_only_tools_are_called(line, ask, server):
    notes = server(pages=[[tool("write"), tool("read", **READS)]])
    line.put(entry(notes))
    done = ask("notes", script({"call": "read"}, {"call": "write"}, {"say": "{status}: {result}"}), "--confirm")
    assert done.stdout == "error: The user did not allow this call: it was not made.\n"
    assert notes.seen["requests"]["tools/call"] == 1


@pytest.mark.parametrize(("answer", "calls"), [("y", 1), ("n", 0)])
def test_with_confirm_the_user_is_asked_before_each_call(line, ask, server, answer, calls):
    notes = server(pages=[[tool("write")]])
    line.put(entry(notes))
    question = script({"call": "write", "with": {"what": "x"}}, {"say": "{status}"})
    parent, child = pty.openpty()
    os.write(parent, f"{answer}\n".encode())
    asking = subprocess.run(
        [TARGET / "debug" / "mcp-agents", "ask", *line.where, "--confirm", "notes", question],
        env=line.environment,
        stdin=child,
        capture_output=True,
        text=True,
        timeout=60,
    )
    os.close(parent)
    os.close(child)
    assert asking.stdout == ("success\n" if calls else "error\n")
    assert f'Call write of {notes.url} with {{"what":"x"}}? [y/N]' in asking.stderr
    assert notes.seen["requests"].get("tools/call", 0) == calls


# What is missing


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"BEDROCK_MODEL_ID": ""}, "give --model ID, or set BEDROCK_MODEL_ID"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "set AWS_REGION"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no AWS credentials for Bedrock"),
    ],
)
def test_missing_settings_are_named_with_a_remedy(line, ask, server, environment, says):
    line.put(entry(server()))
    nothing = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    done = ask("notes", "Hello?", **nothing | environment)
    assert done.returncode == 2 and says in done.stderr and done.stdout == ""


def test_an_unknown_agent_or_an_empty_question_is_refused(line, ask, server):
    line.put(entry(server()))
    assert "there is no agent nobody: known are notes" in ask("nobody", "Hello?").stderr
    assert "the question is empty" in ask("notes", " ").stderr
    assert "required" in ask("notes").stderr


def test_the_model_option_is_used_and_a_refusal_of_the_model_is_reported(line, ask, server):
    line.put(entry(server()))
    refused = script({"fault": {"status": 403, "type": "AccessDeniedException", "message": "no access"}, "say": "x"})
    done = ask("notes", refused, "--model", "another", BEDROCK_MODEL_ID="")
    assert done.returncode == 1
    assert "AccessDeniedException" in done.stderr and "enable access to the model" in done.stderr


def test_no_credential_of_an_entry_is_shown(line, ask, server):
    guarded = server(require_auth=True)
    line.put({"mcp_url": guarded.url, "agent_name": "notes", "auth_type": "api_key", "credentials": CANARY})
    done = ask("notes", "Hello?", "--json")
    assert CANARY not in done.stdout + done.stderr


# Ctrl-C


def test_ctrl_c_ends_it(line, ask, server, tmp_path):
    line.put(entry(server()))
    question = script({"say": "Late.", "wait_ms": 60_000})
    with open(tmp_path / "errors", "w+") as errors:
        asking = subprocess.Popen(
            [TARGET / "debug" / "mcp-agents", "ask", *line.where, "notes", question],
            env=line.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            wait_for(lambda: (tmp_path / "errors").read_text().startswith("user"))
            asking.send_signal(signal.SIGINT)
            assert asking.wait(timeout=10) == 130
            assert asking.stdout.read() == b""
        finally:
            asking.kill()
            asking.wait()
    assert (tmp_path / "errors").read_text().endswith("Stopped.\n")
