"""The functions under the real `cargo lambda watch` and `invoke`, with the files of events/, and other emulators.

`cargo lambda watch` sends a duration where Lambda sends the time of the deadline. Nothing is compiled here:
`make debug` has built the functions.
"""

import json
import os
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.processes import ROOT, TARGET, Process, free_port
from tests.support import samples, wait_for

CARGO_LAMBDA = TARGET / "tools" / "cargo-lambda" / "bin" / "cargo-lambda"
EVENTS = ROOT / "events"


@pytest.fixture
def environment(world, backend, server):
    """The functions' environment: a secret with one server, the stack's table of jobs, the scripted model."""
    made = backend([{"mcp_url": server().url, "agent_name": "Calculator"}])
    return world.aws.environment | {
        "EXTERNAL_MCP_AGENTS_SECRET": made.name,
        "ALLOW_PRIVATE_MCP_SERVERS": "true",
        "AGENT_TABLE": world.outputs["AgentTableName"],
        "BEDROCK_MODEL_ID": "scripted",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": world.model.url,
    }


class Watch:
    """A running `cargo lambda watch`, started in the workspace's root."""

    def __init__(self, environment: dict, folder):
        self.port = free_port()
        self.environment = environment | {"CARGO_TARGET_DIR": str(TARGET), "CARGO_NET_OFFLINE": "true"}
        command = [CARGO_LAMBDA, "lambda", "watch", "--ignore-changes", "-A", "127.0.0.1", "-P", str(self.port)]
        self.process = Process(command, folder / "watch.log", env=self.environment)
        wait_for(self.is_up, 30)

    def is_up(self) -> bool:
        self.process.fail_if_ended("cargo lambda watch")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def invoke(self, function: str, file):
        here = ["--invoke-address", "127.0.0.1", "--invoke-port", str(self.port)]
        command = [CARGO_LAMBDA, "lambda", "invoke", *here, "--data-file", file, function]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr + self.log
        return json.loads(done.stdout)

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    def stop(self):
        self.process.stop()


@pytest.fixture
def watch(environment, tmp_path):
    watch = Watch(environment, tmp_path)
    yield watch
    watch.stop()


def test_the_functions_answer_the_sample_events(watch, world):
    agents = watch.invoke("list-available-agents", EVENTS / "list-available-agents" / "direct.json")
    assert [(agent["agent_id"], agent["status"]) for agent in agents] == [("calculator", "available")]
    assert watch.invoke("list-available-agents", EVENTS / "list-available-agents" / "resolver-admin.json") == agents

    item = samples("agent-processor")["item"]
    key = {name: item[name] for name in ("PK", "SK")}
    world.dynamodb.put_item(TableName=world.outputs["AgentTableName"], Item=item)
    try:
        answer = watch.invoke("agent-processor", EVENTS / "agent-processor" / "job.json")
        assert answer["status"] == "COMPLETED", answer
        done = world.dynamodb.get_item(TableName=world.outputs["AgentTableName"], Key=key)["Item"]
        assert done["status"]["S"] == "COMPLETED"
    finally:
        world.dynamodb.delete_item(TableName=world.outputs["AgentTableName"], Key=key)
    assert watch.invoke("agent-processor", EVENTS / "agent-processor" / "missing-user.json")["statusCode"] == 400
    assert "Compiling" not in watch.log, "everything was built before"
    assert watch.log.count("FUNCTION_TIMEOUT_SECONDS takes its place") == 2, "told once by each function"


# Other emulators


class Emulator:
    """A Runtime API that hands out one event with given headers, and receives the answer."""

    def __init__(self, event, headers: dict[str, str | None]):
        self.event, self.headers = event, headers
        self.outcome = queue.Queue()
        self.handed_out = False
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if emulator.handed_out:
                    time.sleep(30)
                    return
                emulator.handed_out = True
                right = {
                    "lambda-runtime-aws-request-id": "request-1",
                    "lambda-runtime-deadline-ms": str(round((time.time() + 30) * 1000)),
                    "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:0:function:f",
                    "lambda-runtime-trace-id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
                }
                body = json.dumps(emulator.event).encode()
                self.send_response(200)
                for name, value in (right | emulator.headers).items():
                    if value is not None:
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                emulator.outcome.put((self.path.rsplit("/", 1)[1], json.loads(body)))
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def run(self, environment: dict, folder, function="list-available-agents"):
        process = Process(
            [TARGET / "debug" / function], folder / "log", env=environment | {"AWS_LAMBDA_RUNTIME_API": self.address}
        )
        try:
            return self.outcome.get(timeout=20), process.log.read_text()
        except queue.Empty:
            raise AssertionError(process.log.read_text()) from None
        finally:
            process.stop()
            self.http.shutdown()
            self.http.server_close()


VARIABLES = {
    "AWS_LAMBDA_FUNCTION_NAME": "f",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
}


@pytest.mark.parametrize(
    ("headers", "logs"),
    [
        ({}, False),
        ({"lambda-runtime-deadline-ms": "600000"}, True),
        ({"lambda-runtime-deadline-ms": "0"}, True),
        ({"lambda-runtime-deadline-ms": str(round((time.time() + 7200) * 1000))}, True),  # its clock is ahead
        ({"lambda-runtime-deadline-ms": str(round((time.time() - 7200) * 1000))}, True),  # its clock is behind
        ({"lambda-runtime-trace-id": None}, False),
        ({"lambda-runtime-invoked-function-arn": None}, False),
        ({"lambda-runtime-aws-request-id": "of-its-own/kind"}, False),
    ],
)
def test_an_invocation_is_answered_whatever_its_headers_say(environment, tmp_path, headers, logs):
    (path, agents), log = Emulator({}, headers).run(environment | VARIABLES, tmp_path)
    assert path == "response" and agents[0]["status"] == "available", agents
    assert ("FUNCTION_TIMEOUT_SECONDS takes its place" in log) == logs


@pytest.mark.parametrize(
    "left_out", [list(VARIABLES), ["AWS_LAMBDA_FUNCTION_NAME"], ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]]
)
def test_variables_that_an_emulator_does_not_set_are_filled_in(environment, tmp_path, left_out):
    kept = {name: value for name, value in VARIABLES.items() if name not in left_out}
    bare = {name: value for name, value in environment.items() if not name.startswith("AWS_LAMBDA_")}
    (path, _), log = Emulator({}, {}).run(bare | kept, tmp_path)
    assert path == "response" and "variables of Lambda are missing" in log


def test_a_function_outside_lambda_says_what_starts_it(environment):
    bare = {name: value for name, value in environment.items() if not name.startswith("AWS_LAMBDA_")}
    for function in ("list-available-agents", "agent-processor", "agent-jobs", "connections-api"):
        done = subprocess.run(
            [TARGET / "debug" / function], env=bare | os.environ, capture_output=True, text=True, timeout=20
        )
        assert done.returncode != 0 and "cargo lambda watch" in done.stdout + done.stderr
