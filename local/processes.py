"""Starts child processes, and stops them when this process exits.

The children are stopped by `atexit`. A signal that ends Python runs `atexit` only if a handler for it is set, as
`local.example.main` does.
"""

import atexit
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


def free_port() -> int:
    """Returns a loopback port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child process in its own process group. Its output is written to the file `log`."""

    def __init__(self, command, log: Path, env=None, cwd=ROOT):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with open(log, "wb") as output:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        atexit.register(self.stop)

    def stop(self):
        """Ends the whole process group: with SIGTERM, and after 5 s with SIGKILL."""
        atexit.unregister(self.stop)
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is not None and sign == signal.SIGTERM:
                continue
            try:
                os.killpg(self.child.pid, sign)
                self.child.wait(timeout=5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def fail_if_ended(self, what: str):
        if self.child.poll() is not None:
            raise RuntimeError(f"{what} ended at once:\n{self.log.read_text(errors='replace')[-2000:]}")


class StandIn:
    """A stand-in server of the crate test-support, from target/debug. It listens on the port that it prints."""

    def __init__(self, *arguments: str):
        command = [TARGET / "debug" / "test-support", *arguments]
        if not command[0].exists():
            raise RuntimeError(f"{command[0]} is missing: run `make debug`")
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(self.stop)
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"test-support {' '.join(arguments)} did not start")
        self.port = int(line)
        # Keep reading, so that the child never blocks on a full pipe.
        threading.Thread(target=self.child.stdout.read, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        atexit.unregister(self.stop)
        self.child.kill()
        self.child.wait()
