"""Measures our ListAvailableAgents and AgentProcessor, and the same functions in Python (the peer).

Both run as processes of this machine, with the bench as Lambda's Runtime API. They use the same local AWS, stand-in MCP
servers and scripted model, all on loopback. Prints a report in Markdown and writes it to bench/RESULTS.md. Writes the
table to README.md as well. Needs the release binaries below target/lambda, target/debug/test-support and the Python
packages of local/requirements.txt. Installs the peer's packages below target/bench on the first run.
"""

import argparse
import datetime
import os
import platform
import re
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from local.processes import TARGET
from measurements import LIST, PROCESSOR, QUICK, Bench, Runs
from packages import peer_versions

RESULTS = ROOT / "bench" / "RESULTS.md"
README = ROOT / "README.md"

REPORT = """\
# Measured by `make bench`

{machine}.

{table}

Medians; p95 of times where there are 20 runs or more. The functions run as processes of one machine,
beside a local AWS, the stand-in MCP servers and a scripted model, which share its cores: absolute times
are that machine's on that day, noise included; ratios and counts are what to go by. MB are 10^6 bytes.

- The peer is bench/peer, on {peer}.
  At import its list function asks each server, one after another; it never asks again. Its MCP client tries
  `server/discover` before it initializes: one request more a server. On mcp 1.30, the line before, it
  starts about a quarter sooner and leaves that request out.
- Runs of ours and of the peer take turns. *spawn* is the moment just before the process is started; the
  answer has come when all of it has arrived at the Runtime API. Our function has no `CATALOG_TABLE` here,
  so each first list asks every server.
- All entries of the lists sign in as one Cognito user: ours signs in once, the peer once an entry.
- *round trip with HTTP* is from handing out the event until its answer has arrived: it holds the Runtime
  API's two HTTP exchanges and the bench's own part in them. The warm lists are well within the minute
  after which the secret is read again.
- Jobs run in environments that have run one before; each run is a new job, and one that does not end
  COMPLETED with the expected answer fails the bench. The model answers at once; servers ask for no
  sign-in. Both processors connect to the server and list its tools in each run; the peer's keeps no lease,
  transcript or usage. *less its model and tool time* is the round trip less the whole milliseconds that the
  job's `usage` has for `model` and `tools`: what is left holds connecting, listing the tools, and the job's
  reads and writes in the local AWS.
- The job that asks 1 agent is of 2 agents, so that its model asks as the one of 12 does; each agent calls
  one tool of a server of its own. The two jobs take turns; the first of each is not counted.
- *peak memory* is `VmHWM` after the first list.
- The peer's zip is its packages without byte code, pip and setuptools.
"""


def machine() -> str:
    """Returns the date, the machine and the load, for the report."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.date.today()}: {cores} cores, {model} ({platform.machine()}), Linux {platform.release()}, "
        f"CPython {platform.python_version()}, load average {os.getloadavg()[0]:.1f} at the start"
    )


def check_built():
    """Exits with the missing binaries and the commands that build them, if any are missing."""
    missing = [str(path) for path in (LIST, PROCESSOR, TARGET / "debug" / "test-support") if not path.is_file()]
    if missing:
        sys.exit(f"not built: {', '.join(missing)}: run `make build` and `cargo build --package test-support`")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs, rougher figures")
    runs = QUICK if parser.parse_args().quick else Runs()
    check_built()
    # On SIGTERM, the `finally` below still stops all child processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    facts, started = machine(), time.monotonic()
    bench = Bench(runs)
    try:
        table = bench.table()
    finally:
        bench.stop()
    print(f"measured in {time.monotonic() - started:.0f} s", file=sys.stderr)
    report = REPORT.format(machine=facts, table=table, peer=peer_versions())
    RESULTS.write_text(report)
    README.write_text(with_figures(README.read_text(), facts, table))
    print(report)


def with_figures(readme: str, facts: str, table: str) -> str:
    """Returns README.md with its figures replaced by these."""
    figures = re.compile(r"^\d{4}-\d\d-\d\d: .*\n\n(\|.*\n)+", re.MULTILINE)
    replaced, count = figures.subn(lambda _: f"{facts}.\n\n{table.strip()}\n", readme)
    if count != 1:
        raise SystemExit("README.md has no table of figures to replace")
    return replaced


if __name__ == "__main__":
    main()
