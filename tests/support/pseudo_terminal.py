"""A pseudo-terminal for the command line: a test types answers and reads the screen."""

import fcntl
import os
import pty
import re
import subprocess
import termios

from local.processes import TARGET
from tests.support.waiting import wait_for


class Terminal:
    """A pseudo-terminal with a running command. It types answers and reads the screen."""

    def __init__(self, line, *arguments):
        self.line, self.shown = line, ""
        self.mine, theirs = pty.openpty()
        command = [TARGET / "debug" / "mcp-agents", arguments[0], *line.where, *arguments[1:]]
        take = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # noqa: E731
        self.child = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=line.environment,
            start_new_session=True,
            preexec_fn=take,  # without its own terminal it would prompt on the terminal of the tests
        )
        os.close(theirs)

    def answer(self, question: str, text: str):
        while question not in self.shown:
            assert self._read(), f"{question} is not asked: {self.shown}"
        self.shown = self.shown.split(question, 1)[1]
        if "not shown" in question:
            wait_for(lambda: not termios.tcgetattr(self.mine)[3] & termios.ECHO)
        os.write(self.mine, f"{text}\n".encode())

    def shows(self, pattern: str) -> str:
        """Reads until the output matches, and returns the first group of the match."""
        while not (found := re.search(pattern, self.shown)):
            assert self._read(), f"{pattern} is not shown: {self.shown}"
        return found.group(1)

    def ends(self) -> tuple[int, str]:
        while self._read():
            pass
        os.close(self.mine)
        return self.child.wait(timeout=60), self.shown

    def _read(self) -> bool:
        try:
            text = os.read(self.mine, 4096).decode(errors="replace")
        except OSError:
            text = ""
        self.shown += text
        self.line.printed += text
        return bool(text)
