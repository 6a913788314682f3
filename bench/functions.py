"""The measured functions: how each one is started, and what is measured of a started process."""

import time
from dataclasses import dataclass
from pathlib import Path

from local.aws import REGION
from local.processes import Process
from runtime_api import Answer, RuntimeApi

PEER = Path(__file__).resolve().parent / "peer"
# The peer needs about 15 s for a hundred servers. A process that needs this long hangs.
COLD_WITHIN_SECONDS = 120


@dataclass(frozen=True)
class Function:
    """A function, with the command and environment that start it."""

    name: str
    command: tuple
    environment: dict[str, str]
    cwd: Path


def ours(bootstrap: Path) -> Function:
    """Returns our ListAvailableAgents. It has no `CATALOG_TABLE`, so a first list asks every server."""
    return Function("ours", (bootstrap,), {"ALLOW_PRIVATE_MCP_SERVERS": "true"}, bootstrap.parent)


def peer(python: Path) -> Function:
    """Returns the peer's ListAvailableAgents. `awslambdaric`, the client of Lambda's Python runtime, runs it."""
    return _under_awslambdaric(python, "list_available_agents.handler", {})


def our_processor(bootstrap: Path, table: str, model_url: str) -> Function:
    """Returns our AgentProcessor, also without `CATALOG_TABLE`."""
    environment = {"ALLOW_PRIVATE_MCP_SERVERS": "true"} | _of_processors(table, model_url)
    return Function("ours", (bootstrap,), environment, bootstrap.parent)


def peer_processor(python: Path, table: str, model_url: str) -> Function:
    """Returns the peer's AgentProcessor."""
    return _under_awslambdaric(python, "agent_processor.handler", _of_processors(table, model_url))


def _of_processors(table: str, model_url: str) -> dict[str, str]:
    return {
        "AWS_LAMBDA_FUNCTION_NAME": "AgentProcessor",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model_url,
        "AGENT_TABLE": table,
        "BEDROCK_MODEL_ID": "scripted",
    }


def _under_awslambdaric(python: Path, handler: str, environment: dict[str, str]) -> Function:
    # The packages were compiled when they were installed. No byte code is written beside the peer's sources.
    environment = {"LAMBDA_TASK_ROOT": str(PEER), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    return Function("peer", (python, "-m", "awslambdaric", handler), environment, PEER)


class Environment:
    """One execution environment: a process that has answered its first call.

    `cold_seconds` is the time from just before the process is spawned until that answer has arrived.
    """

    def __init__(self, function: Function, aws_endpoint: str, secret: str, log: Path, event=None):
        self.api = RuntimeApi()
        self.api.put(event or {})
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": aws_endpoint,
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "ListAvailableAgents",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/bench",
            "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
            "EXTERNAL_MCP_AGENTS_SECRET": secret,
        }
        spawned_at = time.perf_counter()
        self.process = Process(function.command, log, env=environment | function.environment, cwd=function.cwd)
        try:
            self.first: Answer = self.api.answer(COLD_WITHIN_SECONDS)
        except Exception as error:
            self.stop()
            output = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{function.name} gave no answer: {error}\n{output}") from error
        self.cold_seconds = self.first.arrived_at - spawned_at

    def __enter__(self) -> "Environment":
        return self

    def __exit__(self, *_):
        self.stop()

    def call(self, event=None) -> Answer:
        """Makes one more call to the environment, which is warm now."""
        return self.api.call(event or {})

    @property
    def peak_megabytes(self) -> float:
        """The peak resident memory (`VmHWM`), in MB of 10^6 bytes."""
        status = Path(f"/proc/{self.process.child.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6

    def stop(self):
        self.process.stop()
        self.api.stop()
