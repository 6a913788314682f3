"""Fixtures: one local AWS with the deployed stack for all tests, and a backend of its own for each test."""

import pytest

from local.processes import StandIn
from tests.support import CANARY, Backend, CommandLine, Server, World
from tests.support.terminal import SECRET, Lab


@pytest.fixture(scope="session")
def world():
    world = World()
    yield world
    world.stop()


@pytest.fixture
def backend(world):
    """Creates a backend: `backend(entries, **environment)`."""
    made = []

    def make(entries=(), **environment) -> Backend:
        made.append(Backend(world, entries, environment))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def server(world):
    """Creates a stand-in MCP server with faults: `server(**behaviour)`."""
    return world.server


@pytest.fixture(scope="module")
def faulty():
    """The address of MCP servers with faults that need no local AWS."""
    stand_in = StandIn("faulty")
    yield stand_in.url
    stand_in.stop()


@pytest.fixture
def server_alone(faulty):
    """Makes an MCP server with faults without a local AWS: `server_alone(**behaviour)`."""
    return lambda **behaviour: Server(faulty, behaviour)


@pytest.fixture
def line(tmp_path):
    """The command line `mcp-agents`, with its own home folder and without AWS."""
    made = CommandLine(tmp_path / "home")
    yield made
    made.stop()


@pytest.fixture
def stands():
    """Starts a server or peer that runs until the end of the test: `stands(AuthorizationServer, rotates=False)`."""
    started = []

    def start(kind, *arguments, **settings):
        started.append(kind(*arguments, **settings))
        return started[-1]

    start.all = started
    yield start
    for each in reversed(started):
        each.stop()


@pytest.fixture
def lab(tmp_path):
    """An MCP server and the command line with an entry for it. At the end, no secret may have been printed."""
    lab = Lab(tmp_path / "home")
    yield lab
    lab.stop()
    secrets = {CANARY, SECRET}.union(*(server.secrets for server in (lab.auth, *lab.others)))
    assert not [secret for secret in secrets if secret in lab.line.printed]
