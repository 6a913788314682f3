"""`mcp-agents` with and without a terminal: colours, tables and the progress line."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.processes import TARGET
from tests.support import tool

ESCAPE = "\x1b["
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def server(server_alone):
    """Makes an MCP server without a local AWS: `server(**behaviour)`."""
    return server_alone


class Shown:
    """The output of a command on a terminal of given width, separately for standard output and standard error."""

    def __init__(self, line, *arguments, columns=80, **environment):
        inherited = {
            name: value for name, value in line.environment.items() if name not in ("NO_COLOR", "CLICOLOR", "CI")
        }
        ends = [pty.openpty(), pty.openpty()]
        for parent, _ in ends:
            fcntl.ioctl(parent, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child = subprocess.Popen(
            [TARGET / "debug" / "mcp-agents", *arguments],
            env=inherited | {"TERM": "xterm-256color"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=ends[0][1],
            stderr=ends[1][1],
        )
        for _, theirs in ends:
            os.close(theirs)
        # Read while the command runs: a terminal's buffer has a few kilobytes.
        with ThreadPoolExecutor(len(ends)) as readers:
            self.stdout, self.stderr = readers.map(self._read, [parent for parent, _ in ends])
        self.code = child.wait(timeout=60)

    @staticmethod
    def _read(parent: int) -> str:
        text = b""
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        os.close(parent)
        return text.decode().replace("\r\n", "\n")


@pytest.fixture
def two(line, server):
    """Writes a file with two entries, one of which works."""
    line.put(
        {"mcp_url": server().url, "agent_name": "works", "auth_type": "none"},
        {"mcp_url": "http://127.0.0.1:1/mcp", "agent_name": "fails", "auth_type": "none"},
    )
    return line


def test_a_terminal_has_colours_and_a_progress_line_that_is_gone_at_the_end(two):
    shown = Shown(two, "doctor", *two.where)
    assert shown.code == 1
    assert "\x1b[32mok" in shown.stdout and "\x1b[1m\x1b[31mFAILED" in shown.stdout
    assert "entry 1 (works): resolving its name" in shown.stderr
    # The last output clears the progress line.
    assert shown.stderr.endswith("\r\x1b[2K") or shown.stderr.endswith("\x1b[2K")


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_they_are_not_wanted(two, variable):
    shown = Shown(two, "doctor", *two.where, **variable)
    assert not COLOUR.search(shown.stdout)
    assert "tools listed   ok     1 tools" in shown.stdout


def test_a_program_reads_neither_colours_nor_progress(two):
    done = two.run("doctor")
    assert ESCAPE not in done.stdout and done.stderr == ""
    assert "name resolved  ok" in done.stdout


def test_a_plain_http_server_is_connected_to_and_speaks_no_tls(two):
    shown = two.run("doctor").stdout
    assert re.search(r"^  connected      ok     plain HTTP, no TLS$", shown, re.MULTILINE)
    assert not re.search(r"^  TLS ", shown, re.MULTILINE)
    assert "connected" in [step["step"] for step in json.loads(two.run("doctor", "--json").stdout)[0]["steps"]]


def test_tables_are_as_wide_as_the_terminal_and_whole_away_from_one(line, server):
    description = " ".join(f"word{n}" for n in range(40))
    line.put({"mcp_url": server(pages=[[tool("look", description=description)]]).url, "agent_name": "notes"})
    narrow = Shown(line, "tools", *line.where, "notes", columns=60).stdout.splitlines()
    assert narrow[0].split() == ["TOOL", "DESCRIPTION"]
    assert len(narrow) > 4 and max(map(len, narrow)) <= 60
    assert " ".join(" ".join(row.split()) for row in narrow[1:]) == f"look {description}"
    [row] = line.run("tools", "notes").stdout.splitlines()
    assert row == f"look  {description}"


def test_a_list_is_a_row_an_agent(two):
    assert [row.split()[:2] for row in two.run("list").stdout.splitlines()] == [["works", "none"], ["fails", "none"]]
    assert Shown(two, "list", *two.where).stdout.split()[:3] == ["AGENT", "SIGN-IN", "SERVER"]


def test_add_shows_what_it_waits_for(line, server):
    line.put("[]")
    shown = Shown(line, "add", *line.where, server(delay_ms=200).url, "--name", "new", "--auth-type", "none")
    assert shown.code == 0, shown.stdout + shown.stderr
    assert "entry 1 (new): " in shown.stderr and "Added." in shown.stdout
    assert "Added." not in shown.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "elvish", "powershell"])
def test_every_shell_has_completions_of_every_command(line, shell):
    line.where = []
    done = line.run("completions", shell)
    assert done.returncode == 0 and done.stderr == ""
    for command in ("add", "ask", "completions", "doctor", "list", "login", "remove", "tools"):
        assert command in done.stdout


def test_bash_takes_the_completions(line):
    line.where = []
    script = line.run("completions", "bash").stdout
    function = re.search(r"complete -F (\S+)", script).group(1)
    ask = f'COMP_WORDS=(mcp-agents do); COMP_CWORD=1; {function} mcp-agents do mcp-agents; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True)
    assert done.stdout.split() == ["doctor"], done.stderr
