"""OAuth for tests: servers in the test's process with configurable faults, and third-party servers without faults.

`AuthorizationServer`, `ProtectedServer` and `AgentCoreServer` run in the test's process, on free loopback ports, and
record every request. Their attributes configure them, as keyword arguments of the constructor
(`AuthorizationServer(rotates=False)`) or later. They store secrets in plain text, so that a test can search for them.

`OidcProvider`, `SseServer` and `CognitoOAuth` are third-party programs, and so are the servers of
tests/peers/real_servers.py. A `Recorder` in front of one of them records its requests and responses. `follow` is a
browser without a window.
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
