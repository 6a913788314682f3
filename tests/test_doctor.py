"""`mcp-agents doctor`: the first step that fails, its reason and its remedy. It never prints a credential."""

import json
import socket
import subprocess

import pytest

from local.processes import TARGET
from tests.support import CANARY, tool


@pytest.fixture
def doctor(world, tmp_path):
    """Runs the doctor over entries in a file: `doctor(entries, *options)`."""

    def run(entries, *options, **environment):
        secret = tmp_path / "secret.json"
        secret.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return examine("--secret", secret, *options, **environment)

    def examine(*options, **environment):
        done = subprocess.run(
            [TARGET / "debug" / "mcp-agents", "doctor", *options],
            env=world.aws.environment | {"ALLOW_PRIVATE_MCP_SERVERS": "true"} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert CANARY not in done.stdout + done.stderr
        return done

    run.examine = examine
    return run


def steps(done):
    return [[(s["step"], s["ok"]) for s in entry["steps"]] for entry in json.loads(done.stdout)]


GOOD = [(step, True) for step in ("parsed", "resolved", "connected", "signed_in", "initialized", "tools_listed")]


def test_a_good_entry_passes_every_step(doctor, server, world):
    entry = world.pool().entry(server(require_auth=True).url, agent_name="good")
    done = doctor([entry], "--json")
    assert done.returncode == 0
    assert steps(done) == [GOOD]
    assert json.loads(done.stdout)[0]["tools"] == ["echo"]
    text = doctor([entry])
    assert text.returncode == 0 and "tools listed   ok     1 tools" in text.stdout


@pytest.mark.parametrize(
    ("change", "step", "reason"),
    [
        ({"mcp_url": None}, "parsed", "bad_entry"),
        ({"cognito_user_pool_id": "nonsense"}, "parsed", "bad_entry"),
        ({"auth_type": "cognito", "credentials": CANARY}, "parsed", "bad_entry"),
        ({"transport": "websocket"}, "parsed", "bad_entry"),
        ({"mcp_url": "https://no-such-host.invalid/mcp"}, "resolved", "name_not_resolved"),
        ({"mcp_url": "http://169.254.169.254/"}, "resolved", "address_refused"),
        ({"mcp_url": "http://127.0.0.1:1/mcp"}, "connected", "unreachable"),
        ({"cognito_password": "Wrong-1!aaaa"}, "signed_in", "sign_in_failed"),
    ],
)
def test_the_first_failure_is_named_with_reason_and_remedy(doctor, server, world, change, step, reason):
    entry = world.pool().entry(server(require_auth=True).url) | change
    done = doctor([entry], "--json")
    assert done.returncode == 1
    [entry] = json.loads(done.stdout)
    last = entry["steps"][-1]
    assert (last["step"], last["ok"], last["reason"]) == (step, False, reason)
    assert last["remedy"] and last["detail"]
    assert all(earlier["ok"] for earlier in entry["steps"][:-1])


def test_a_field_that_does_not_belong_is_named_with_the_nearest(doctor, server):
    entries = [
        {"mcp_url": server().url, "auth_type": "api_key", "credential": CANARY},
        {"mcp_url": server().url, "auth_type": "none"},
    ]
    first, second = json.loads(doctor(entries, "--json").stdout)
    assert (
        "field credential: is not a field of auth_type api_key: did you mean credentials?"
        in first["steps"][0]["detail"]
    )
    assert all(step["ok"] for step in second["steps"]), "only that entry falls out"


def test_a_key_is_sent_and_not_shown(doctor, server):
    guarded = server(require_auth=True)
    entry = {"mcp_url": guarded.url, "auth_type": "api_key", "credentials": f"Bearer {CANARY}"}
    done = doctor([entry], "--json")
    assert steps(done) == [GOOD], "it is given no second scheme"
    assert guarded.seen["tokens"] == 1


def test_tools_that_are_not_offered_are_counted_and_not_named(doctor, server):
    pages = [[tool("read_notes"), tool("write_notes")]]
    done = doctor([{"mcp_url": server(pages=pages).url, "tools": {"deny": ["write_*"]}}], "--json")
    [report] = json.loads(done.stdout)
    assert report["tools"] == ["read_notes"]
    assert "2 tools, 1 of them not offered" in report["steps"][-1]["detail"]


def test_an_https_url_at_a_plain_server_fails_at_tls(doctor, server):
    done = doctor([{"mcp_url": server().url.replace("http:", "https:")}], "--json")
    last = json.loads(done.stdout)[0]["steps"][-1]
    assert (last["step"], last["ok"], last["reason"]) == ("tls", False, "tls_failed")


def test_a_port_that_stays_silent_fails_at_tls(doctor):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/mcp"
        done = doctor([{"mcp_url": url}], "--json", "--timeout", "5")
    assert steps(done)[0][-1] == ("tls", False)


@pytest.mark.parametrize(
    ("behaviour", "step", "reason"),
    [
        ({"status": 401}, "initialized", "unauthorized"),
        ({"body": "html"}, "initialized", "not_mcp"),
        ({"status": 503}, "initialized", "http_status"),
        ({"hang_on": "tools/list"}, "tools_listed", "timeout"),
        ({"pages": [[tool(f"t{n}")] for n in range(101)]}, "tools_listed", "endless_list"),
    ],
)
def test_a_faulty_server_fails_at_its_step(doctor, server, behaviour, step, reason):
    done = doctor([{"mcp_url": server(**behaviour).url}], "--json", "--timeout", "2")
    last = json.loads(done.stdout)[0]["steps"][-1]
    assert (last["step"], last["reason"]) == (step, reason)


def test_one_bad_entry_among_good_ones_makes_the_exit_code_1(doctor, server):
    done = doctor([{"mcp_url": server().url}, None, {"mcp_url": server().url}], "--json")
    assert done.returncode == 1
    assert steps(done) == [GOOD, [("parsed", False)], GOOD]


def test_a_secret_that_is_none_exits_with_2_and_a_place(doctor):
    done = doctor('[{"cognito_password": "%s" "x"' % CANARY)
    assert done.returncode == 2 and "line 1, column" in done.stderr
    done = doctor.examine("--secret", "/no/such/file")
    assert done.returncode == 2 and "does not exist" in done.stderr


def test_the_secret_in_aws_is_read_by_default(doctor, server, world, backend):
    named = backend([{"mcp_url": server().url}])
    done = doctor.examine("--json", EXTERNAL_MCP_AGENTS_SECRET=named.name)
    assert done.returncode == 0 and steps(done) == [GOOD]


def test_what_a_server_says_cannot_steer_the_terminal(doctor, server):
    evil = {"name": "evil\u001b[2J\u0007", "inputSchema": {"type": "object"}}
    done = doctor([{"mcp_url": server(pages=[[evil]]).url, "agent_name": "a\u001b[31m"}])
    assert done.returncode == 0
    assert "\u001b" not in done.stdout and "\u0007" not in done.stdout
