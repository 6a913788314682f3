"""The backend of one test: copies of the deployed functions with their own secret.

The copies have the same code as the deployed functions. With a secret for each backend, tests do not affect each other.
A new copy starts as a cold environment.
"""

import json
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from local.stack import ARCHITECTURE
from tests.lab import follow
from tests.support.proxy import Fault
from tests.support.world import World

AGENT_FIELDS = {"agent_id", "agent_name", "agent_description", "sample_queries", "status", "status_reason", "tools"}


class Failed(Exception):
    """A function returned an error; `type` is its `errorType`."""

    def __init__(self, answer: dict):
        super().__init__(answer.get("errorMessage"))
        self.type = answer.get("errorType")


class Backend:
    """Copies of the deployed functions with their own secret."""

    def __init__(self, world: World, entries, environment: dict[str, str]):
        self.world = world
        self.name = f"t-{uuid.uuid4().hex[:12]}"
        self.environment = {
            "EXTERNAL_MCP_AGENTS_SECRET": self.name,
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": f"{world.proxy.url}/{self.name}",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"{world.proxy.url}/{self.name}",
            "AWS_ENDPOINT_URL_DYNAMODB": f"{world.proxy.url}/{self.name}",
        } | environment
        self.functions = {}
        if entries is not None:
            text = entries if isinstance(entries, str) else json.dumps(list(entries))
            world.secrets.create_secret(Name=self.name, SecretString=text)

    def stop(self):
        for name in self.functions.values():
            self.world.lambdas.delete_function(FunctionName=name)

    def put_secret(self, entries):
        text = entries if isinstance(entries, str) else json.dumps(list(entries))
        self.world.secrets.put_secret_value(SecretId=self.name, SecretString=text)

    def calls(self, operation: str) -> int:
        """Returns how often the functions have called an operation of AWS."""
        return self.world.proxy.calls[self.name, operation]

    def all_calls(self) -> int:
        """The number of calls that the functions made to AWS."""
        calls = self.world.proxy.calls
        return sum(count for (caller, _), count in calls.items() if caller == self.name)

    def add_fault(
        self, operation: str, containing: str = "", times: int = 1, error: dict | None = None, status: int = 400, **more
    ):
        """Loses the answers to the next `times` calls of an operation, or answers them with `error` instead."""
        answer = json.dumps(error).encode() if error else None
        self.world.proxy.faults.append(Fault(self.name, operation, containing.encode(), times, status, answer, **more))

    def remove_faults(self):
        """Removes all faults of this backend's calls."""
        with self.world.proxy.lock:
            faults = self.world.proxy.faults
            faults[:] = [fault for fault in faults if fault.caller != self.name]

    # Functions

    def function(self, output: str, timeout: int | None = None) -> str:
        if output not in self.functions:
            like = self.world.configuration(output)
            name = f"{self.name}-{output[:4]}-{uuid.uuid4().hex[:6]}"
            self.world.lambdas.create_function(
                FunctionName=name,
                Runtime=like["Runtime"],
                Role=like["Role"],
                Handler=like["Handler"],
                Architectures=[ARCHITECTURE],
                Code=self.world.code(output),
                MemorySize=like["MemorySize"],
                Timeout=timeout or like["Timeout"],
                Environment={"Variables": like["Environment"]["Variables"] | self.environment},
                LoggingConfig={"LogGroup": f"/tests/{self.name}"},
            )
            self.functions[output] = name
        return self.functions[output]

    def processes(self, output: str) -> list[Path]:
        """Returns the folders in /proc of the function's processes."""
        name = f"AWS_LAMBDA_FUNCTION_NAME={self.function(output)}".encode()

        def is_one(process: Path) -> bool:
            try:
                return name in (process / "environ").read_bytes().split(b"\0")
            except OSError:
                return False

        return [process for process in Path("/proc").glob("[0-9]*") if is_one(process)]

    def go_cold(self):
        """Drops the copies, so that the next call of each function starts a new environment."""
        self.functions.clear()

    def invoke(self, output: str, event, timeout: int | None = None):
        name = self.function(output, timeout)
        answer = self.world.lambdas.invoke(FunctionName=name, Payload=json.dumps(event).encode())
        payload = json.load(answer["Payload"])
        if answer.get("FunctionError"):
            raise Failed(payload)
        return payload

    def agents(self, event=None, timeout: int | None = None) -> list[dict]:
        agents = self.invoke("ListAvailableAgentsFunctionArn", event or {}, timeout)
        for agent in agents:
            assert set(agent) == AGENT_FIELDS, agent
        return agents

    def resolve(self, field: str, arguments=None, identity=None):
        """Sends a resolver's event to the jobs function. This backend's processor runs the submitted jobs."""
        if "AgentJobsFunctionArn" not in self.functions:
            self.environment["AGENT_PROCESSOR_FUNCTION"] = self.function("AgentProcessorFunctionArn")
        event = {"info": {"fieldName": field}, "arguments": arguments or {}, "identity": identity}
        return self.invoke("AgentJobsFunctionArn", event)

    def process(self, event, timeout: int | None = None) -> dict:
        return self.invoke("AgentProcessorFunctionArn", event, timeout)

    def http(
        self,
        method: str,
        path: str,
        body=None,
        user: str | None = "ada",
        group: str = "Author",
        query=None,
        api="ConnectionsApi",
        sub: str | None = None,
        **headers,
    ):
        """Sends an HTTP request as API Gateway does after its authorizer. Without `user`, no caller is verified."""
        context = {"stage": "$default", "http": {"method": method, "path": path}}
        if user:
            claims = {"username": user, "cognito:groups": f"[{group}]"} | ({"sub": sub} if sub else {})
            context["authorizer"] = {"jwt": {"claims": claims}}
        event = {
            "version": "2.0",
            "rawPath": path,
            "rawQueryString": urlencode(query or {}),
            "queryStringParameters": query or {},
            "headers": {"content-type": "application/json"} | headers,
            "requestContext": context,
            "isBase64Encoded": False,
        }
        if body is not None:
            event["body"] = body if isinstance(body, str) else json.dumps(body)
        answer = self.invoke(f"{api}FunctionArn", event)
        is_json = "json" in answer.get("headers", {}).get("content-type", "")
        return answer["statusCode"], json.loads(answer["body"]) if is_json else answer.get("body")

    # Jobs

    @property
    def table(self) -> str:
        return self.world.outputs["AgentTableName"]

    def submit(self, query: str, agent_ids, user: str = "alice", **fields) -> dict:
        """Writes a pending job to the table, as a resolver does, and returns the event for the processor."""
        job_id = str(uuid.uuid4())
        ids = {"S": json.dumps(agent_ids)} if isinstance(agent_ids, list) else agent_ids
        item = {
            "PK": {"S": f"agent#{user}"},
            "SK": {"S": job_id},
            "query": {"S": query},
            "agentIds": ids,
            "status": {"S": "PENDING"},
            "createdAt": {"S": "2026-01-31T09:30:00.000000Z"},
        }
        self.world.dynamodb.put_item(TableName=self.table, Item=item | fields)
        return {"userId": user, "jobId": job_id}

    def submit_interrupted(self, lease: float | None, **fields) -> dict:
        """Writes a job as an interrupted run leaves it, with `lease` seconds left. Returns the processor's event."""
        processing = {"S": "PROCESSING"}
        claimed = {"status": processing, "unfinished": processing, "attempt": {"N": "1"}}
        if lease is not None:
            claimed["leaseUntil"] = {"N": str(int((time.time() + lease) * 1000))}
        return self.submit("hi", ["helper"], **claimed | fields)

    def sweep(self, processor: str = "unused") -> dict:
        """Runs the sweep, as the schedule does. It starts jobs that never began in the function `processor`."""
        self.environment["AGENT_PROCESSOR_FUNCTION"] = processor
        return self.invoke("AgentJobsFunctionArn", {"source": "aws.events", "detail-type": "Scheduled Event"})

    def job(self, event: dict) -> dict:
        key = {"PK": {"S": f"agent#{event['userId']}"}, "SK": {"S": event["jobId"]}}
        item = self.world.dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item", {})
        return {name: next(iter(value.values())) for name, value in item.items()}

    def ask(self, query: str, agent_ids, **options) -> tuple[dict, dict]:
        """Submits and runs a job. Returns the processor's answer and the job's item."""
        event = self.submit(query, agent_ids)
        answer = self.process(event, **options)
        return answer, self.job(event)

    # Logs

    def log_lines(self) -> list[str]:
        group = f"/tests/{self.name}"
        try:
            pages = self.world.logs.get_paginator("filter_log_events").paginate(logGroupName=group)
            return [event["message"] for page in pages for event in page["events"]]
        except self.world.logs.exceptions.ResourceNotFoundException:
            return []

    def log_events(self, message: str) -> list[dict]:
        """Returns the JSON log lines that have this message."""
        events = [json.loads(line) for line in self.log_lines() if line.startswith("{")]
        return [event for event in events if event.get("message") == message]


def connect(
    backend: Backend,
    agent_id: str,
    user: str = "ada",
    browser=follow,
    group: str = "Author",
    sub: str | None = None,
    **start,
) -> str:
    """Signs a user in to an agent's server, as a web page and a browser do. Returns the authorization URL."""
    status, started = backend.http("POST", "/oauth/start", {"agent_id": agent_id} | start, user, group, sub=sub)
    assert status == 200, started
    # The lab's authorization servers sign in the user that login_hint names.
    back = browser(f"{started['authorization_url']}&login_hint={user}")
    status, page = backend.http("GET", callback_path(started), user=None, query=back)
    assert status == 200, page
    status, done = backend.http("POST", "/oauth/complete", {"state": started["state"]}, user, group, sub=sub)
    assert (status, done) == (200, {"agent_id": agent_id, "status": "connected"})
    return started["authorization_url"]


def callback_path(started: dict) -> str:
    """Returns the path of the redirect URI in the answer of `/oauth/start`."""
    return urlsplit(dict(parse_qsl(urlsplit(started["authorization_url"]).query))["redirect_uri"]).path
