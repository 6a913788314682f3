"""What the tests drive the deployed functions with.

A test's backend is a copy of the deployed functions, byte for byte, with a secret of its own, so that
tests run beside each other. Copies made anew are cold environments.
"""

import contextlib
import http.server
import json
import os
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from local.aws import LocalAws, UserPool
from local.processes import TARGET, StandIn
from local.stack import ARCHITECTURE, deploy, place_bootstraps

from tests.lab import follow

CANARY = "Canary-Pass-1!x"
SHAPES = {"agent_id", "agent_name", "agent_description", "sample_queries", "status", "status_reason", "tools"}


class World:
    """The local AWS, the stack on it, and the stand-ins beside it."""

    def __init__(self):
        self.model = StandIn("model")
        self.faulty = StandIn("faulty")
        self.aws = LocalAws({"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.model.url})
        bootstraps = place_bootstraps(self.aws.folder / "bootstraps")
        self.outputs = deploy(self.aws, bootstraps, AllowPrivateMcpServers="true")
        self.lambdas = self.aws.client("lambda")
        self.secrets = self.aws.client("secretsmanager")
        self.dynamodb = self.aws.client("dynamodb")
        self.logs = self.aws.client("logs")
        self.proxy = CountingProxy(self.aws.endpoint)
        self._code = {}
        self.aws.client("s3").create_bucket(Bucket="copies")

    def stop(self):
        self.proxy.stop()
        self.aws.stop()
        self.faulty.stop()
        self.model.stop()

    def server(self, **behaviour) -> "Server":
        return Server(self.faulty.url, behaviour)

    def pool(self, password: str = CANARY, **options) -> UserPool:
        return UserPool(self.aws, password, **options)

    def configuration(self, output: str) -> dict:
        return self.lambdas.get_function_configuration(FunctionName=self.outputs[output])

    def table(self) -> str:
        """A new table for connections and the catalog: what a port was used for before is not in it."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
        )
        return name

    def code(self, output: str) -> dict:
        """Where a deployed function's code lies for copies to be made of."""
        if output not in self._code:
            location = self.lambdas.get_function(FunctionName=self.outputs[output])["Code"]["Location"]
            with urllib.request.urlopen(location) as code:
                self.aws.client("s3").put_object(Bucket="copies", Key=output, Body=code.read())
            self._code[output] = {"S3Bucket": "copies", "S3Key": output}
        return self._code[output]


class Server:
    """One of the stand-in's MCP servers."""

    def __init__(self, base: str, behaviour: dict):
        self.control = f"{base}/{uuid.uuid4().hex}"
        self.url = f"{self.control}/mcp"
        self.behave(**behaviour)

    def behave(self, **behaviour):
        self._send("PUT", self.control, behaviour)

    def revoke(self):
        """Refuses every token seen so far from now on."""
        self._send("POST", f"{self.control}/revoke")

    @property
    def seen(self) -> dict:
        with urllib.request.urlopen(self.control) as answer:
            return json.load(answer)

    @property
    def requests(self) -> int:
        return sum(self.seen["requests"].values())

    @staticmethod
    def _send(method, url, body=None):
        data = json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
        urllib.request.urlopen(request).close()


class CountingProxy:
    """Forwards to the local AWS and counts calls by caller and operation.

    A function calls through `/{caller}/…` when its service endpoint says so. `faults` are what is done to calls
    in place of the right thing, once each.
    """

    def __init__(self, endpoint: str):
        self.calls = Counter()
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        proxy, calls = self, self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                caller = self.path.strip("/").split("/")[0]
                operation = self.headers.get("x-amz-target", "").split(".")[-1]
                calls[caller, operation] += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                fault = proxy.fault(caller, operation, body)
                if fault:
                    time.sleep(fault.late)
                if fault and fault.answer:
                    return self.say(fault.status, {"content-type": "application/x-amz-json-1.0"}, fault.answer)
                try:
                    answer = urllib.request.urlopen(urllib.request.Request(endpoint, body, headers))
                except urllib.error.HTTPError as error:
                    answer = error
                with answer:
                    content = answer.read()
                    if fault and not fault.is_heard:  # done all the same; nobody hears of it
                        self.close_connection = True
                        return
                    self.say(answer.status, answer.headers, content)

            def say(self, status, headers, content):
                self.send_response(status)
                for name in ("content-type", "x-amzn-errortype", "x-amzn-requestid"):
                    if headers.get(name):
                        self.send_header(name, headers[name])
                self.send_header("content-length", str(len(content)))
                with contextlib.suppress(ConnectionError):  # whoever asked may be gone
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def fault(self, caller: str, operation: str, body: bytes) -> "Fault | None":
        with self.lock:
            for fault in self.faults:
                if fault.times and (fault.caller, fault.operation) == (caller, operation) and fault.containing in body:
                    fault.times -= 1
                    return fault
        return None

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Fault:
    """What is done to calls of an operation whose body has this text: the call is made and its answer lost, or this
    is answered and nothing done; `late` holds the call up by so many seconds, and with `is_heard` does no more."""

    caller: str
    operation: str
    containing: bytes = b""
    times: int = 1
    status: int = 400
    answer: bytes | None = None
    late: float = 0
    is_heard: bool = False


class Failed(Exception):
    """A function answered with an error."""

    def __init__(self, answer: dict):
        super().__init__(answer.get("errorMessage"))
        self.type = answer.get("errorType")


class Backend:
    """The deployed functions with a secret of their own."""

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
        """How often the functions called an operation of AWS."""
        return self.world.proxy.calls[self.name, operation]

    def breaks(self, operation: str, containing: str = "", times: int = 1, error: dict | None = None, status: int = 400, **more):
        """Has the answers to an operation lost, or an error answered in its place."""
        answer = json.dumps(error).encode() if error else None
        self.world.proxy.faults.append(Fault(self.name, operation, containing.encode(), times, status, answer, **more))

    def mend(self):
        """Nothing is done to this backend's calls any more."""
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
        """The folders in /proc of the function's processes."""
        name = f"AWS_LAMBDA_FUNCTION_NAME={self.function(output)}".encode()

        def is_one(process: Path) -> bool:
            try:
                return name in (process / "environ").read_bytes().split(b"\0")
            except OSError:
                return False

        return [process for process in Path("/proc").glob("[0-9]*") if is_one(process)]

    def go_cold(self):
        """The next call meets a new environment."""
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
            assert set(agent) == SHAPES, agent
        return agents

    def resolve(self, field: str, arguments=None, identity=None):
        """Sends a resolver's event to the jobs function, whose jobs this backend's processor runs."""
        if "AgentJobsFunctionArn" not in self.functions:
            self.environment["AGENT_PROCESSOR_FUNCTION"] = self.function("AgentProcessorFunctionArn")
        event = {"info": {"fieldName": field}, "arguments": arguments or {}, "identity": identity}
        return self.invoke("AgentJobsFunctionArn", event)

    def process(self, event, timeout: int | None = None) -> dict:
        return self.invoke("AgentProcessorFunctionArn", event, timeout)

    def http(self, method: str, path: str, body=None, user: str | None = "ada", group: str = "Author", query=None, api="ConnectionsApi", sub: str | None = None, **headers):
        """Asks an API as API Gateway does behind its authorizer; nobody without a `user`."""
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
        """Puts a pending job into the table, as a resolver would; gives the processor's event."""
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

    def job(self, event: dict) -> dict:
        key = {"PK": {"S": f"agent#{event['userId']}"}, "SK": {"S": event["jobId"]}}
        item = self.world.dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item", {})
        return {name: next(iter(value.values())) for name, value in item.items()}

    def ask(self, query: str, agent_ids, **options) -> tuple[dict, dict]:
        """Submits and runs a job; gives the answer and the job's item."""
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
        """The JSON log lines with this message."""
        events = [json.loads(line) for line in self.log_lines() if line.startswith("{")]
        return [event for event in events if event.get("message") == message]


class Api:
    """The deployed jobs API as one user sees it."""

    def __init__(self, world: World, token: str | None):
        self.base = world.aws.endpoint
        self.host = f"{world.outputs['JobsApiId']}.execute-api.localhost:{world.aws.port}"
        self.token = token

    def send(self, method: str, path: str, body=None, **headers) -> tuple[int, dict | list | None]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"host": self.host, "content-type": "application/json"} | headers
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.base}{path}", data, headers, method=method)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            content = answer.read()
            return answer.status, json.loads(content) if content else None


def sign_up(world: World, name: str, group: str | None) -> Api:
    """A user of the stack's own pool, signed in."""
    cognito = world.aws.client("cognito-idp")
    pool, client = world.outputs["UserPoolId"], world.outputs["UserPoolClientId"]
    name = f"{name}-{uuid.uuid4().hex[:6]}"
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=CANARY, Permanent=True)
    if group:
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=name, GroupName=group)
    flow = {"USERNAME": name, "PASSWORD": CANARY}
    signed_in = cognito.initiate_auth(AuthFlow="USER_PASSWORD_AUTH", ClientId=client, AuthParameters=flow)
    api = Api(world, signed_in["AuthenticationResult"]["AccessToken"])
    api.user = name
    return api


class CommandLine:
    """`mcp-agents` for somebody with a home folder of their own; the entries are in a file there.

    With the environment of a local AWS and the name of a secret they are in that. Without one there is no
    AWS. `printed` is all that it ever said.
    """

    NO_AWS = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }

    def __init__(self, home: Path, aws: dict[str, str] | None = None, secret: str | None = None):
        home.mkdir(parents=True, exist_ok=True)
        self.environment = (aws or os.environ | self.NO_AWS) | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": "",
            "ALLOW_PRIVATE_MCP_SERVERS": "true",
            "EXTERNAL_MCP_AGENTS_SECRET": secret or "",
        }
        self.file = home / "secret.json"
        self.where = [] if secret else ["--secret", self.file]
        self.tokens = home / ".config" / "mcp-agents" / "tokens.json"
        self.printed = ""
        self.sittings = []

    def put(self, *entries: dict | str):
        """Writes the entries; a text as it is."""
        is_text = len(entries) == 1 and isinstance(entries[0], str)
        self.file.write_text(entries[0] if is_text else json.dumps(entries))

    @property
    def entries(self) -> list[dict]:
        return json.loads(self.file.read_text())

    def run(self, command: str, *arguments, stdin: str = "", **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [TARGET / "debug" / "mcp-agents", command, *self.where, *arguments],
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.printed += done.stdout + done.stderr
        return done

    def start(self, command: str, *arguments, **environment: str) -> "Sitting":
        """A command that sends somebody to a browser."""
        self.sittings.append(Sitting(self, [command, *self.where, *arguments, "--no-browser"], environment))
        return self.sittings[-1]

    def doctor(self, *arguments, **environment: str) -> list[dict]:
        """What the doctor says of each entry."""
        return json.loads(self.run("doctor", "--json", *arguments, **environment).stdout)

    def stop(self):
        for sitting in self.sittings:
            sitting.stop()


class Sitting:
    """A command that has printed where to sign in, and waits for the browser to come back."""

    def __init__(self, line: CommandLine, arguments: list, environment: dict[str, str]):
        self.line = line
        self.errors = tempfile.TemporaryFile("w+")
        self.child = subprocess.Popen(
            [TARGET / "debug" / "mcp-agents", *arguments],
            env=line.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.patience = threading.Timer(60, self.child.kill)
        self.patience.start()
        self.said = ""
        self.url = None
        while self.url is None and (said := self.child.stdout.readline()):
            self.said += said
            self.url = said.strip() if said.startswith("  http") else None
        assert self.url, f"it names no address: {self.said}{self.done().stderr}"
        self.asked = dict(parse_qsl(urlsplit(self.url).query))

    def come_back(self, query: dict[str, str | None], to: str | None = None) -> str:
        """Opens the redirect URI as the browser would; gives the page. None leaves a parameter out."""
        query = {name: value for name, value in query.items() if value is not None}
        with urllib.request.urlopen(f"{to or self.asked['redirect_uri']}?{urlencode(query)}", timeout=10) as answer:
            page = answer.read().decode()
        self.line.printed += page
        return page

    @property
    def error_text(self) -> str:
        """What it has said on standard error so far."""
        # Read at a place of its own: the child writes where the file's position is.
        return os.pread(self.errors.fileno(), 1 << 16, 0).decode()

    def done(self) -> subprocess.CompletedProcess:
        """Waits for its end."""
        stdout = self.said + self.child.stdout.read()
        code = self.child.wait()
        self.stop()
        self.errors.seek(0)
        done = subprocess.CompletedProcess([], code, stdout, self.errors.read())
        self.line.printed += done.stdout + done.stderr
        return done

    def stop(self):
        self.patience.cancel()
        self.child.kill()
        self.child.wait()


def users(server, **fields) -> dict:
    """An entry that users sign in to."""
    return {"mcp_url": server.url, "auth_type": "oauth2", "agent_name": "notes"} | fields


def machine(server, **fields) -> dict:
    """An entry whose client signs in for itself."""
    client = {"grant_type": "client_credentials", "client_id": "machine", "client_secret": "machine-secret"}
    return users(server) | client | fields


def own_tables(world) -> dict[str, str]:
    """What gives a backend tables of its own, since ports come again, and has each list ask the servers anew."""
    tables = dict.fromkeys(("CONNECTIONS_TABLE", "CATALOG_TABLE"), world.table())
    return {"TOOL_CACHE_TTL_SECONDS": "0.001"} | tables


def as_user(name: str, group: str = "Author", **arguments) -> dict:
    """The event with which a resolver lists the agents for a user."""
    identity = {"username": name, "sub": f"sub-{name}", "claims": {"cognito:groups": [group]}}
    return {"info": {"fieldName": "listAvailableAgents"}, "arguments": arguments, "identity": identity}


def connect(backend: Backend, agent_id: str, user: str = "ada", browser=follow, group: str = "Author", sub: str | None = None, **start) -> str:
    """Signs a user in to an agent's server, as a page and a browser do; gives the authorization URL."""
    status, started = backend.http("POST", "/oauth/start", {"agent_id": agent_id} | start, user, group, sub=sub)
    assert status == 200, started
    # The lab's servers let in whom the hint names.
    back = browser(f"{started['authorization_url']}&login_hint={user}")
    status, page = backend.http("GET", callback_path(started), user=None, query=back)
    assert status == 200, page
    status, done = backend.http("POST", "/oauth/complete", {"state": started["state"]}, user, group, sub=sub)
    assert (status, done) == (200, {"agent_id": agent_id, "status": "connected"})
    return started["authorization_url"]


def callback_path(started: dict) -> str:
    """Where a browser comes back to that was sent off so."""
    return urlsplit(dict(parse_qsl(urlsplit(started["authorization_url"]).query))["redirect_uri"]).path


def script(*steps: dict) -> str:
    """A query whose script the stand-in model follows."""
    return f"script: {json.dumps(list(steps))}"


def tool(name: str, **fields) -> dict:
    return {"name": name, "description": f"The tool {name}", "inputSchema": {"type": "object"}} | fields


def wait_for(condition, seconds: float = 20, every: float = 0.1):
    """Waits until `condition` gives something, and gives that."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, "it did not come to pass in time"
        time.sleep(every)
    return found


def at_once(count: int, work):
    """Runs `work` that many times at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return [future.result() for future in [threads.submit(work) for _ in range(count)]]


def samples(function: str) -> dict[str, dict]:
    """The sample events of a function, by case."""
    folder = Path(__file__).parent.parent / "events" / function
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
