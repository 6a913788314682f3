"""Measures jobs of AgentProcessor: one agent in ours and in the peer, and twelve agents compared with one."""

import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from figures import Figure, Row, compared
from functions import Environment, Function, our_processor, peer_processor
from local.aws import LocalAws
from local.processes import StandIn
from packages import peer_python
from tests.support import Server, script

USER = "bench"
MANY_AGENTS = 12
AGENT_DELAY_MS = 100
# Each run calls one tool once. The scripted model answers without delay.
ONE_CALL = script({"call": "echo", "with": {"text": "hi"}}, {"say": "Got {result}"})
ONE_ANSWER = 'Got {"text":"hi"}'


@dataclass(frozen=True)
class JobRuns:
    """Numbers of runs: rounds, our runs per round (the peer has one per round), and runs of many agents."""

    rounds: int
    ours: int
    many: int


@dataclass(frozen=True)
class Run:
    """One job that has run: its round trip in milliseconds and the `usage` of its item."""

    milliseconds: float
    usage: dict

    @property
    def overhead(self) -> float:
        """The round trip minus the whole milliseconds of the model and the tools; fractions of them stay in it."""
        took = self.usage["milliseconds"]
        return self.milliseconds - took["model"] - took["tools"]


class Jobs:
    """A table of jobs, a scripted model, and MCP servers that need no sign-in."""

    def __init__(self, aws: LocalAws, faulty: StandIn, bootstrap: Path, runs: JobRuns):
        self.aws = aws
        self.faulty = faulty
        self.runs = runs
        self.model = StandIn("model")
        self.dynamodb = aws.client("dynamodb")
        self.table = f"bench-{uuid.uuid4().hex}"
        keys = {"PK": "HASH", "SK": "RANGE"}
        self.dynamodb.create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
            BillingMode="PAY_PER_REQUEST",
        )
        self.ours = our_processor(bootstrap, self.table, self.model.url)

    @cached_property
    def peer(self) -> Function:
        """The peer. Its packages are installed at the first use."""
        return peer_processor(peer_python(), self.table, self.model.url)

    def stop(self):
        self.model.stop()

    def one_agent(self) -> list[Row]:
        secret = self.secret(self.agents(1))
        our, their = [], []
        with self.start(self.ours, secret) as ours, self.start(self.peer, secret) as peer:
            for _ in range(self.runs.rounds):
                our += [self.run(ours, ONE_CALL, ["agent-0"], ONE_ANSWER) for _ in range(self.runs.ours)]
                their.append(self.run(peer, ONE_CALL, ["agent-0"], ONE_ANSWER))
        our_times, their_times = round_trips(our), round_trips(their)
        overhead = Figure([run.overhead for run in our], "ms")
        return [
            compared("warm job of 1 agent, 1 tool call, round trip with HTTP", our_times, their_times),
            Row(
                "the same, less its model and tool time",
                str(overhead),
                runs=f"{len(our)} / –",
                target="≤ 40 ms",
                reached=overhead.median <= 40,
            ),
        ]

    def many_agents(self) -> list[Row]:
        """Each agent has its own server, so the figures compare the time spent waiting for servers."""
        agents = self.agents(MANY_AGENTS, AGENT_DELAY_MS)
        names = list(agents)
        alone, together = [], []
        with self.start(self.ours, self.secret(agents)) as ours:
            # The first run of each is not counted: it caches the tools of all servers in the process.
            for count in range(self.runs.many + 1):
                one = self.run(ours, asks(names[:1]), names[:2], "All")
                all_of_them = self.run(ours, asks(names), names, "All")
                for run, asked in ((one, names[:1]), (all_of_them, names)):
                    calls = {name: run.usage["toolCalls"].get(agents[name].url, 0) for name in names}
                    if calls != {name: int(name in asked) for name in names}:
                        raise RuntimeError(f"not every agent called its tool once: {calls}")
                if count:
                    alone.append(one)
                    together.append(all_of_them)
        one, many = round_trips(alone), round_trips(together)
        ratio = many.median / one.median
        runs = f"{self.runs.many} / –"
        kind = f"servers of {AGENT_DELAY_MS} ms a request"
        return [
            Row(f"warm job that asks 1 agent, {kind}", str(one), runs=runs),
            Row(
                f"warm job that asks {MANY_AGENTS} agents at once, {kind}",
                str(many),
                runs=runs,
                target=f"≤ 1.3× of 1 agent: {ratio:.2f}×",
                reached=ratio <= 1.3,
            ),
        ]

    def agents(self, count: int, delay_ms: int = 0) -> dict[str, Server]:
        return {f"agent-{number}": Server(self.faulty.url, {"delay_ms": delay_ms}) for number in range(count)}

    def secret(self, agents: dict[str, Server]) -> str:
        """Creates a secret that lists these agents, and returns its name."""
        entries = [{"mcp_url": server.url, "agent_name": name} for name, server in agents.items()]
        name = f"bench-{uuid.uuid4().hex}"
        self.aws.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(entries))
        return name

    def start(self, function: Function, secret: str) -> Environment:
        """Starts an environment and runs a first job in it, so that it is warm."""
        log = self.aws.folder / f"{function.name}-processor.log"
        event = self.submit(ONE_CALL, ["agent-0"])
        environment = Environment(function, self.aws.endpoint, secret, log, event)
        try:
            self.ended(event, ONE_ANSWER)
        except RuntimeError as error:
            environment.stop()
            raise RuntimeError(f"{function.name}: {error}\n{log.read_text(errors='replace')[-2000:]}") from error
        return environment

    def run(self, environment: Environment, query: str, agent_ids: list[str], answer: str) -> Run:
        """Submits a job and runs it. Fails if the job does not end with this answer."""
        event = self.submit(query, agent_ids)
        seconds = environment.call(event).seconds
        job = self.ended(event, answer)
        return Run(seconds * 1000, json.loads(job.get("usage", "{}")))

    def submit(self, query: str, agent_ids: list[str]) -> dict[str, str]:
        """Writes a pending job to the table, and returns the event for the processor."""
        job_id = str(uuid.uuid4())
        item = {
            "PK": f"agent#{USER}",
            "SK": job_id,
            "query": query,
            "agentIds": json.dumps(agent_ids),
            "status": "PENDING",
            "createdAt": "2026-01-31T09:30:00.000000Z",
        }
        self.dynamodb.put_item(TableName=self.table, Item={name: {"S": value} for name, value in item.items()})
        return {"userId": USER, "jobId": job_id}

    def ended(self, event: dict[str, str], answer: str) -> dict[str, str]:
        """Returns the job's item. Fails if the job is not COMPLETED with this answer."""
        key = {"PK": {"S": f"agent#{event['userId']}"}, "SK": {"S": event["jobId"]}}
        item = self.dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True)["Item"]
        job = {name: next(iter(value.values())) for name, value in item.items()}
        if job["status"] != "COMPLETED" or json.loads(job["result"])["content"] != answer:
            raise RuntimeError(f"a job ended as {job['status']}: {job.get('error') or job.get('result')}")
        return job


def asks(names: list[str]) -> str:
    """Returns a query that makes the model ask these agents in one turn; each agent calls its tool once."""
    part = script({"call": "echo"}, {"say": "Done"})
    calls = [{"call": name, "with": {"query": part}} for name in names]
    return script({"calls": calls}, {"say": "All"})


def round_trips(runs: list[Run]) -> Figure:
    return Figure([run.milliseconds for run in runs], "ms")
