"""The measurements: one method for each, which returns rows of the table."""

import json
import sys
import uuid
from dataclasses import dataclass
from functools import cached_property

from figures import HEAD, Figure, Row, compared
from functions import Environment, Function, ours, peer
from jobs import JobRuns, Jobs
from local.aws import LocalAws, UserPool
from local.processes import TARGET, StandIn
from packages import peer_files, peer_python, zipped_megabytes
from tests.support import CountingProxy, Server

BOOTSTRAPS = TARGET / "lambda"
LIST = BOOTSTRAPS / "list-available-agents" / "bootstrap"
PROCESSOR = BOOTSTRAPS / "agent-processor" / "bootstrap"
# The time of one request to a distant server, in milliseconds.
DELAY_MS = 100
SERVERS = 20
MANY_SERVERS = 100


@dataclass(frozen=True)
class Rounds:
    """`count` rounds, each with `ours` runs of ours and one run of the peer. Runs take turns, so that other load on
    this machine affects both."""

    count: int
    ours: int


@dataclass(frozen=True)
class Runs:
    """The number of runs of each measurement."""

    empty: Rounds = Rounds(count=7, ours=6)
    delayed: Rounds = Rounds(count=3, ours=4)
    memory: Rounds = Rounds(count=1, ours=5)
    warm: int = 1000
    jobs: JobRuns = JobRuns(rounds=20, ours=5, many=11)


QUICK = Runs(
    Rounds(count=5, ours=4),
    Rounds(count=2, ours=2),
    Rounds(count=1, ours=2),
    warm=200,
    jobs=JobRuns(rounds=5, ours=6, many=5),
)


@dataclass(frozen=True)
class Cold:
    """The times from spawn to the first list, and the peak memory after it."""

    times: Figure
    memory: Figure


@dataclass(frozen=True)
class Watched:
    """The calls that one environment makes for its first list and for its warm lists, and the times of the latter."""

    cold_aws_calls: int
    cold_mcp_requests: int
    warm_calls: int
    warm_times: Figure


class Bench:
    """The measured functions, the local AWS and the stand-in servers."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self.ours = ours(LIST)
        self.faulty = StandIn("faulty")
        self.aws = LocalAws()
        self.pool = UserPool(self.aws, "Bench-Pass-1!x")
        self.jobs = Jobs(self.aws, self.faulty, PROCESSOR, runs.jobs)

    @cached_property
    def peer(self) -> Function:
        """The peer. Its packages are installed at the first use."""
        return peer(peer_python())

    def stop(self):
        self.jobs.stop()
        self.aws.stop()
        self.faulty.stop()

    def table(self) -> str:
        rows = []
        measures = (
            self.empty_secret,
            self.slow_servers,
            self.calls,
            self.memory,
            self.jobs.one_agent,
            self.jobs.many_agents,
            self.sizes,
        )
        for measure in measures:
            print(f"measuring: {measure.__name__.replace('_', ' ')}…", file=sys.stderr)
            rows += measure()
        return "\n".join([HEAD, *map(str, rows)])

    def empty_secret(self) -> list[Row]:
        _, secret = self.servers(0)
        # The first round is not counted: it loads the files into the page cache.
        self.side_by_side(secret, 0, Rounds(count=1, ours=1))
        our, their = self.side_by_side(secret, 0, self.runs.empty)
        reached = our.times.median <= 30 and their.times.median >= 50 * our.times.median
        return [
            compared("spawn → answer, empty secret", our.times, their.times, "≤ 30 ms and ≥ 50×", reached),
            compared("peak memory, empty secret", our.memory, their.memory),
        ]

    def slow_servers(self) -> list[Row]:
        _, one = self.servers(1, DELAY_MS)
        _, twenty = self.servers(SERVERS, DELAY_MS)
        of_one = self.cold(self.ours, one, 1, self.runs.delayed.count * self.runs.delayed.ours)
        our, their = self.side_by_side(twenty, SERVERS, self.runs.delayed)
        spread = our.times.median / of_one.times.median
        target = f"≤ 1.5× of 1 server: {spread:.2f}×"
        kind = f"of {DELAY_MS} ms a request"
        return [
            Row(f"spawn → list, 1 server {kind}", str(of_one.times), runs=f"{len(of_one.times.values)} / –"),
            compared(f"spawn → list, {SERVERS} servers {kind}", our.times, their.times, target, spread <= 1.5),
        ]

    def calls(self) -> list[Row]:
        our, their = self.watched(self.ours), self.watched(self.peer)
        cold, warm = f"first list of {SERVERS} servers", f"warm list of {SERVERS} servers"
        reached = our.warm_times.median <= 1
        runs = f"{self.runs.warm} / {self.runs.warm}"
        return [
            Row(f"{cold}, calls to AWS", str(our.cold_aws_calls), str(their.cold_aws_calls)),
            Row(f"{cold}, requests to servers", str(our.cold_mcp_requests), str(their.cold_mcp_requests)),
            compared(f"{warm}, round trip with HTTP", our.warm_times, their.warm_times, "≤ 1 ms", reached),
            Row(
                f"{warm}, calls to AWS and servers",
                str(our.warm_calls),
                str(their.warm_calls),
                runs=runs,
                target="0",
                reached=our.warm_calls == 0,
            ),
        ]

    def memory(self) -> list[Row]:
        rows = []
        for count in (SERVERS, MANY_SERVERS):
            _, secret = self.servers(count)
            our, their = self.side_by_side(secret, count, self.runs.memory)
            target, reached = "–", None
            if count == MANY_SERVERS:
                target, reached = "≤ 30 MB", our.memory.median <= 30
            rows.append(compared(f"peak memory, {count} servers", our.memory, their.memory, target, reached))
        return rows

    def sizes(self) -> list[Row]:
        rows = []
        for bootstrap in sorted(BOOTSTRAPS.glob("*/bootstrap")):
            what = f"zipped size, {bootstrap.parent.name}"
            size = Figure([zipped_megabytes([(bootstrap, "bootstrap")])], "MB")
            reached = size.median <= 6
            if bootstrap == LIST:
                peer_size = Figure([zipped_megabytes(peer_files())], "MB")
                rows.append(compared(what, size, peer_size, "≤ 6 MB", reached))
            else:
                rows.append(Row(what, str(size), runs="1 / –", target="≤ 6 MB", reached=reached))
        return rows

    def servers(self, count: int, delay_ms: int = 0) -> tuple[list[Server], str]:
        """Creates MCP servers that need a sign-in, and a secret that lists them. Returns the servers and its name."""
        servers = [Server(self.faulty.url, {"delay_ms": delay_ms, "require_auth": True}) for _ in range(count)]
        named = enumerate(servers, start=1)
        entries = [self.pool.entry(server.url, agent_name=f"Server {number}") for number, server in named]
        name = f"bench-{uuid.uuid4().hex}"
        self.aws.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps(entries))
        return servers, name

    def start(self, function: Function, secret: str, agents: int, aws_endpoint: str) -> Environment:
        """Starts an environment. Fails if its first list lacks agents, or tools of their servers."""
        log = self.aws.folder / f"{function.name}.log"
        environment = Environment(function, aws_endpoint, secret, log)
        listed = environment.first.payload
        found = [agent for agent in listed if "echo" in agent["agent_description"]]
        if len(listed) != agents or len(found) != agents:
            environment.stop()
            raise RuntimeError(f"{function.name} listed {len(found)} of {agents} agents with their tool")
        return environment

    def cold(self, function: Function, secret: str, agents: int, runs: int) -> Cold:
        """Starts `runs` new environments of a function, one after another."""
        times, megabytes = [], []
        for _ in range(runs):
            with self.start(function, secret, agents, self.aws.endpoint) as environment:
                times.append(environment.cold_seconds * 1000)
                megabytes.append(environment.peak_megabytes)
        return Cold(Figure(times, "ms"), Figure(megabytes, "MB"))

    def side_by_side(self, secret: str, agents: int, rounds: Rounds) -> tuple[Cold, Cold]:
        """Starts new environments of ours and of the peer, in turns."""
        our, their = [], []
        for _ in range(rounds.count):
            our.append(self.cold(self.ours, secret, agents, rounds.ours))
            their.append(self.cold(self.peer, secret, agents, 1))
        return joined(our), joined(their)

    def watched(self, function: Function) -> Watched:
        """Counts every call that one environment makes, for its first list and then for warm lists."""
        servers, secret = self.servers(SERVERS)
        proxy = CountingProxy(self.aws.endpoint)
        try:
            with self.start(function, secret, SERVERS, f"{proxy.url}/{function.name}") as environment:
                aws_calls, mcp_requests = proxy.calls.total(), requests(servers)
                if not aws_calls or not mcp_requests:
                    raise RuntimeError("the first list went past the counters")
                times = [environment.call().seconds * 1000 for _ in range(self.runs.warm)]
                warm_calls = proxy.calls.total() - aws_calls + requests(servers) - mcp_requests
                return Watched(aws_calls, mcp_requests, warm_calls, Figure(times, "ms"))
        finally:
            proxy.stop()


def joined(parts: list[Cold]) -> Cold:
    """Combines the runs of all rounds."""
    times = [time for part in parts for time in part.times.values]
    megabytes = [size for part in parts for size in part.memory.values]
    return Cold(Figure(times, "ms"), Figure(megabytes, "MB"))


def requests(servers: list[Server]) -> int:
    """Returns the number of requests that the servers have received."""
    return sum(server.requests for server in servers)
