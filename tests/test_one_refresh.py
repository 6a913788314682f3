"""Many processes that refresh at once, with a refresh token that works once.

Real processes (the command line on the stack's table and key) use a certified authorization server. It treats a second
use of a refresh token as theft, and revokes the whole grant.
"""

import json
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from local.processes import TARGET
from tests.lab import AuthorizationServer, OidcProvider, ProtectedServer, follow
from tests.support import wait_for

PROCESSES = 50
# Fifty concurrent processes find a second refresh; a trial takes four seconds.
TRIALS = 6


class Machines:
    """Command lines with an entry in a file, which store tokens in the stack's table."""

    def __init__(self, world, folder, url):
        self.secret = folder / "servers.json"
        self.secret.write_text(json.dumps([{"mcp_url": url, "auth_type": "oauth2", "agent_name": "notes"}]))
        self.environment = world.aws.environment | {
            "ALLOW_PRIVATE_MCP_SERVERS": "true",
            "CONNECTIONS_TABLE": world.outputs["ConnectionsTableName"],
            "CONNECTIONS_KEY": world.outputs["ConnectionsKeyArn"],
        }

    def start(self, command, *options):
        return subprocess.Popen(
            [TARGET / "debug" / "mcp-agents", command, "--secret", self.secret, *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sign_in(self):
        login = self.start("login", "notes", "--no-browser")
        page = next(line.strip() for line in login.stdout if "code_challenge" in line)
        [redirect_uri] = urllib.parse.parse_qs(urllib.parse.urlsplit(page).query)["redirect_uri"]
        back = follow(page, redirect_uri)
        urllib.request.urlopen(f"{redirect_uri}?{urllib.parse.urlencode(back)}").close()
        _, errors = login.communicate(timeout=30)
        assert login.returncode == 0, errors

    def ask(self):
        return self.start("tools", "notes", "--timeout", "60")


def ends(process) -> tuple[int, str]:
    output, errors = process.communicate(timeout=90)
    return process.returncode, output + errors


@pytest.fixture
def machines(world, tmp_path):
    """Creates `Machines` for a server behind an authorization server: `machines(server)`."""
    return lambda server: Machines(world, tmp_path, server.url)


def test_fifty_processes_refresh_once_and_no_grant_is_lost(machines, stands):
    """In each trial, the server refuses the token that all processes have. The refresh tokens form one chain.

    The token response is delayed until all processes have started.
    """
    provider = stands(OidcProvider, token_delay_ms=1500)
    server = stands(ProtectedServer, provider)
    all_of_them = machines(server)
    all_of_them.sign_in()

    def refreshes():
        return provider.seen["token_by_grant"].get("refresh_token", 0)

    assert ends(all_of_them.ask())[0] == 0
    for trial in range(TRIALS):
        before = refreshes()
        server.refuse_all()
        running = [all_of_them.ask() for _ in range(PROCESSES)]
        outcomes = [ends(process) for process in running]
        assert [output for code, output in outcomes if code != 0] == [], f"trial {trial}"
        assert refreshes() - before == 1, f"trial {trial}"


@pytest.fixture
def cut_off(world, machines, stands):
    """Kills a process after it has sent the refresh token, and before it has stored the response."""
    provider = stands(AuthorizationServer, delays={})
    server = stands(ProtectedServer, provider)
    machine = machines(server)
    machine.sign_in()
    assert ends(machine.ask())[0] == 0
    server.refuse_all()
    provider.delays["token"] = 60
    holder = machine.ask()
    wait_for(lambda: provider.requests("token", grant_type="refresh_token"))
    holder.kill()
    holder.communicate()
    provider.delays.clear()
    return machine, provider


def run_out(world):
    """Ends every lease, as waiting for half a minute would do."""
    table = world.outputs["ConnectionsTableName"]
    for page in world.dynamodb.get_paginator("scan").paginate(TableName=table):
        for item in page["Items"]:
            if "leasedUntil" in item:
                past = {":past": {"N": str(int((time.time() - 60) * 1000))}}
                key = {"PK": item["PK"]}
                world.dynamodb.update_item(
                    TableName=table, Key=key, UpdateExpression="SET leasedUntil = :past", ExpressionAttributeValues=past
                )


def test_a_refresh_that_was_cut_off_ends_in_a_new_sign_in(world, cut_off):
    machine, provider = cut_off
    run_out(world)
    for _ in range(3):
        code, output = ends(machine.ask())
        assert code != 0 and "a user must sign in" in output and "cut off" in output, output
    assert len(provider.requests("token", grant_type="refresh_token")) == 1, "the old token is not used again"
    machine.sign_in()
    assert ends(machine.ask())[0] == 0


def test_no_process_refreshes_while_the_lease_lasts(cut_off):
    machine, provider = cut_off
    waiting = machine.start("tools", "notes", "--timeout", "3")
    code, output = ends(waiting)
    assert code != 0 and "no answer within 3 s" in output, output
    assert len(provider.requests("token", grant_type="refresh_token")) == 1
