"""OAuth for tests: servers that can be steered into every fault, and peers that do it right.

`AuthorizationServer`, `ProtectedServer` and `AgentCoreServer` run in the test's process, on free loopback
ports, and record every request; each is steered by its attributes, at the start
(`AuthorizationServer(rotates=False)`) or later. They show what a server may do wrong, and count. They keep
every secret in plain sight, so that a test can look for it.

`OidcProvider`, `SseServer` and `CognitoOAuth` are programs of others; so are the servers of
tests/peers/real_servers.py. A `Recorder` before one of them shows what was said to it. `follow` is a browser
without a face.
"""

from tests.peers import OidcProvider, SseServer

from .authorization_server import AuthorizationServer
from .browser import follow
from .cognito import CognitoOAuth
from .loopback import Answer, Request
from .odd_server import OddServer
from .plain_server import PlainServer
from .protected_server import AgentCoreServer, ProtectedServer
from .recorder import Recorder
from .strict_model import StrictModel

__all__ = [
    "AgentCoreServer",
    "Answer",
    "AuthorizationServer",
    "CognitoOAuth",
    "OddServer",
    "OidcProvider",
    "PlainServer",
    "ProtectedServer",
    "Recorder",
    "Request",
    "SseServer",
    "StrictModel",
    "follow",
]
