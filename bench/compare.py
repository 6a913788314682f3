"""Measures an earlier build of two of the functions and the current build, in the same run.

The argument is the folder with the earlier release binaries, `list-available-agents` and `agent-processor`. Both builds
run in turns against the same local AWS, stand-in servers and scripted model. Prints a Markdown table and writes it to
bench/COMPARISON.md. Exits with 1 if a figure of the current build is more than 1.1 times the earlier build's.
"""

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from figures import Figure, rounded
from functions import our_processor, ours
from jobs import ONE_ANSWER, ONE_CALL, round_trips
from local.processes import TARGET
from measurements import DELAY_MS, LIST, MANY_SERVERS, PROCESSOR, SERVERS, Bench, Runs, joined
from packages import zipped_megabytes
from run import machine

COMPARISON = ROOT / "bench" / "COMPARISON.md"
LIMIT = 1.1
HEAD = "| what | before | now | now ÷ before | runs each | limit | kept |\n| --- | --- | --- | --- | --- | --- | --- |"

REPORT = """\
# An earlier build beside the current one

Written by `make compare BEFORE=folder`. Before: {label}. {machine}.

{table}

Both builds run in turns, in one run, as [RESULTS.md](RESULTS.md) describes. Times are the lower quartile: what else the
machine does only adds to a time. Memory is the median.
"""


class Comparison(Bench):
    """The bench, with an earlier build of the functions in place of the peer."""

    def __init__(self, folder: Path):
        super().__init__(Runs())
        self.folder = folder
        self.before = replace(ours(folder / "list-available-agents"), name="before")
        self.before_processor = replace(
            our_processor(folder / "agent-processor", self.jobs.table, self.jobs.model.url), name="before"
        )
        self.is_kept = True

    def report(self) -> str:
        rows = [*self.lists(), *self.warm_lists(), *self.warm_jobs(), *self.packages()]
        return "\n".join([HEAD, *rows])

    def lists(self) -> list[str]:
        """Measures first lists: the time from spawn to answer, and the peak memory."""
        rows = []
        for count, delay, rounds in ((0, 0, 30), (SERVERS, DELAY_MS, 10), (SERVERS, 0, 10), (MANY_SERVERS, 0, 8)):
            _, secret = self.servers(count, delay)
            before, now = [], []
            for _ in range(rounds + 1):
                before.append(self.cold(self.before, secret, count, 1))
                now.append(self.cold(self.ours, secret, count, 1))
            # The first run of each build is not counted: it loads the files into the page cache.
            earlier, current = joined(before[1:]), joined(now[1:])
            what = f"{count} servers" + (f" of {delay} ms a request" if delay else "")
            rows.append(self.row(f"spawn → list, {what}", earlier.times, current.times))
            rows.append(self.row(f"peak memory, {what}", earlier.memory, current.memory))
        return rows

    def warm_lists(self) -> list[str]:
        _, secret = self.servers(SERVERS)
        before, now = [], []
        with (
            self.start(self.before, secret, SERVERS, self.aws.endpoint) as earlier,
            self.start(self.ours, secret, SERVERS, self.aws.endpoint) as current,
        ):
            for _ in range(1000):
                before.append(earlier.call().seconds * 1000)
                now.append(current.call().seconds * 1000)
        return [self.row(f"warm list of {SERVERS} servers", Figure(before, "ms"), Figure(now, "ms"))]

    def warm_jobs(self) -> list[str]:
        secret = self.jobs.secret(self.jobs.agents(1))
        before, now = [], []
        with (
            self.jobs.start(self.before_processor, secret) as earlier,
            self.jobs.start(self.jobs.ours, secret) as current,
        ):
            for _ in range(150):
                before.append(self.jobs.run(earlier, ONE_CALL, ["agent-0"], ONE_ANSWER))
                now.append(self.jobs.run(current, ONE_CALL, ["agent-0"], ONE_ANSWER))
        return [self.row("warm job of 1 agent, 1 tool call", round_trips(before), round_trips(now))]

    def packages(self) -> list[str]:
        """Measures zipped sizes. The limit is 6 MB, whatever the earlier size."""
        rows = []
        for name, bootstrap in (("list-available-agents", LIST), ("agent-processor", PROCESSOR)):
            before = zipped_megabytes([(self.folder / name, "bootstrap")])
            now = zipped_megabytes([(bootstrap, "bootstrap")])
            rows.append(self.line(f"zipped size, {name}", before, now, "MB", 1, "≤ 6 MB", now <= 6))
        return rows

    def row(self, what: str, before: Figure, now: Figure) -> str:
        figure = (lambda each: each.lower_quartile) if now.unit == "ms" else (lambda each: each.median)
        earlier, current = figure(before), figure(now)
        is_kept = current <= LIMIT * earlier
        return self.line(what, earlier, current, now.unit, len(now.values), f"≤ {LIMIT}×", is_kept)

    def line(self, what: str, before: float, now: float, unit: str, runs: int, limit: str, is_kept: bool) -> str:
        self.is_kept &= is_kept
        verdict = "yes" if is_kept else "**no**"
        return (
            f"| {what} | {rounded(before)} {unit} | {rounded(now)} {unit} | {now / before:.2f}× | {runs} | {limit} | "
            f"{verdict} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the earlier release binaries")
    parser.add_argument("--label", default="an earlier build", help="what the earlier build is, for the report")
    options = parser.parse_args()
    folder = options.folder.resolve()
    needed = [folder / "list-available-agents", folder / "agent-processor", LIST, PROCESSOR]
    missing = [str(path) for path in [*needed, TARGET / "debug" / "test-support"] if not path.is_file()]
    if missing:
        sys.exit(f"not built: {', '.join(missing)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    facts = machine()
    comparison = Comparison(folder)
    try:
        table = comparison.report()
    finally:
        comparison.stop()
    report = REPORT.format(label=options.label, machine=facts, table=table)
    COMPARISON.write_text(report)
    print(report)
    return 0 if comparison.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
