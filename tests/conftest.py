"""One local AWS with the stack deployed on it for all tests; each test has a backend of its own."""

import pytest

from tests.support import CANARY, Backend, CommandLine, World
from tests.support.terminal import SECRET, Lab


@pytest.fixture(scope="session")
def world():
    world = World()
    yield world
    world.stop()


@pytest.fixture
def backend(world):
    """Makes a backend: `backend(entries, **environment)`."""
    made = []

    def make(entries=(), **environment) -> Backend:
        made.append(Backend(world, entries, environment))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def server(world):
    """Makes an MCP server with faults: `server(**behaviour)`."""
    return world.server


@pytest.fixture
def line(tmp_path):
    """Somebody at a terminal, with a home folder of their own and without AWS."""
    made = CommandLine(tmp_path / "home")
    yield made
    made.stop()


@pytest.fixture
def stands():
    """Starts a server or peer until the test's end: `stands(AuthorizationServer, rotates=False)`."""
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
    """One server and somebody at a terminal with an entry for it, who is shown no secret."""
    lab = Lab(tmp_path / "home")
    yield lab
    lab.stop()
    secrets = {CANARY, SECRET}.union(*(server.secrets for server in (lab.auth, *lab.others)))
    assert not [secret for secret in secrets if secret in lab.line.printed]
