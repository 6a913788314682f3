"""Helpers that drive the deployed functions and the command line from outside."""

from tests.support.api import Api, sign_up
from tests.support.backend import Backend, Failed, callback_path, connect
from tests.support.command_line import CommandLine
from tests.support.entries import CANARY, as_user, machine_entry, own_tables, samples, script, tool, user_entry
from tests.support.proxy import CountingProxy
from tests.support.waiting import at_once, wait_for
from tests.support.world import Server, World

__all__ = [
    "Api",
    "Backend",
    "CANARY",
    "CommandLine",
    "CountingProxy",
    "Failed",
    "Server",
    "World",
    "as_user",
    "at_once",
    "callback_path",
    "connect",
    "machine_entry",
    "own_tables",
    "samples",
    "script",
    "sign_up",
    "tool",
    "user_entry",
    "wait_for",
]
