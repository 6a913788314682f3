"""Runs the official conformance suite's client scenarios against target/conformance-client.

Two versions of the suite: 0.1.16 with everything it has, and 0.2.0-alpha.12 with what the revision 2026-07-28
requires or reports. What may fail stands in a baseline, each with its reason; it neither runs nor judges the
suite's server scenarios.

    python tests/conformance/run.py
    python tests/conformance/run.py --scenario auth/metadata-default --version 0.1

Each scenario is a run of the suite of its own, two at a time: the suite would start all of them at once, and
some measure time. The suite's own judgement is kept, with three things added: an exit code or a time-out of the
client counts, a scenario in which nothing was checked has failed, and the baseline also covers scenarios that
the requirements do not score.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
NODE = TARGET / "tools" / "node" / "bin" / "node"
PEERS = TARGET / "tools" / "peers" / "node_modules"
CLIENT = TARGET / "conformance-client"
RESULTS = TARGET / "conformance"

# A scenario takes a second or two; one that hangs must not hold up the others for long.
CLIENT_SECONDS = 20
AT_A_TIME = 2
# It measures when the client comes back, to 200 ms: nothing runs beside it.
ALONE = {"sse-retry"}

# No baseline may name these: signing in is what the client is for.
MUST_PASS = {
    "initialize",
    "tools_call",
    "sse-retry",
    "auth/metadata-default",
    "auth/metadata-var1",
    "auth/metadata-var2",
    "auth/metadata-var3",
    "auth/basic-cimd",
    "auth/scope-from-www-authenticate",
    "auth/scope-from-scopes-supported",
    "auth/scope-omitted-when-undefined",
    "auth/scope-step-up",
    "auth/scope-retry-limit",
    "auth/token-endpoint-auth-basic",
    "auth/token-endpoint-auth-post",
    "auth/token-endpoint-auth-none",
    "auth/pre-registration",
    "auth/resource-mismatch",
    "auth/offline-access-scope",
    "auth/offline-access-not-supported",
    "auth/client-credentials-basic",
    "auth/client-credentials-jwt",
}


class Unusable(Exception):
    """The suite or a baseline is not as this needs it."""


@dataclass(frozen=True)
class Suite:
    """A version of the suite; `arguments` make a single scenario run as in the whole set."""

    version: str
    release: str
    baseline: Path
    arguments: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return PEERS / f"conformance-{self.version}"

    def run(self, *arguments: str) -> subprocess.Popen:
        """Starts it in a process group of its own: on a time-out it would leave the client behind."""
        command = [str(NODE), str(self.folder / "dist" / "index.js"), *arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def scenarios(self) -> list[str]:
        if self.version == "0.1":
            listed, _ = self.run("list", "--client").communicate(timeout=60)
            found = re.findall(r"^  - (\S+)", listed, re.MULTILINE)
        else:
            required = yaml.safe_load((self.folder / "requirements" / "2026-07-28.yaml").read_text())
            unscored = [each["scenario"] for each in required["not_scored"] if each["leg"] == "client"]
            found = required["client"] + unscored
        if not found:
            raise Unusable(f"the suite {self.release} lists no client scenarios")
        return found


SUITES = (
    Suite("0.1", "0.1.16", HERE / "baseline-0.1.yml", ()),
    # Extensions are on no revision's timeline: without --force they would be skipped and count as passed.
    Suite("0.2", "0.2.0-alpha.12", HERE / "baseline-2026-07-28.yml", ("--spec-version", "2026-07-28", "--force")),
)


def expected_failures(suite: Suite, scenarios: list[str]) -> dict[str, str]:
    """The scenarios of a baseline with their reasons: the comment on the line of each."""
    text = suite.baseline.read_text()
    named = (yaml.safe_load(text) or {}).get("client") or []
    reasons = dict(re.findall(r"^\s*-\s+(\S+)\s+#\s*(\S.*)$", text, re.MULTILINE))
    for name in named:
        if name in MUST_PASS:
            raise Unusable(f"{suite.baseline.name} names {name}, which must pass")
        if name not in scenarios:
            raise Unusable(f"{suite.baseline.name} names {name}, which the suite {suite.release} does not have")
        if name not in reasons:
            raise Unusable(f"{suite.baseline.name} gives no reason for {name}: a comment on its line")
    return {name: reasons[name] for name in named}


@dataclass
class Outcome:
    scenario: str
    failures: list[str]
    warnings: list[str]
    output: str  # the suite's
    said: str  # the client's

    @property
    def passed(self) -> bool:
        # A warning fails a scenario in the suite, too.
        return not self.failures and not self.warnings


def run_scenario(suite: Suite, scenario: str, client_seconds: int) -> Outcome:
    folder = RESULTS / suite.version / scenario.replace("/", "-")
    # The shell that the suite starts becomes the client: what it kills on a time-out is not only the shell.
    child = suite.run(
        "client",
        "--command",
        f"exec {shlex.quote(str(CLIENT))}",
        "--scenario",
        scenario,
        "--timeout",
        str(client_seconds * 1000),
        "--output-dir",
        str(folder),
        *suite.arguments,
    )
    try:
        output, _ = child.communicate(timeout=client_seconds + 20)
    except subprocess.TimeoutExpired:
        kill_group(child)
        output, _ = child.communicate()
    finally:
        kill_group(child)
    return judge(scenario, folder, output, child.returncode)


def kill_group(child: subprocess.Popen):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def judge(scenario: str, folder: Path, output: str, code: int) -> Outcome:
    """Reads the checks that the suite wrote; `code` is how the suite ended."""
    found = list(folder.glob("**/checks.json"))
    checks = json.loads(found[0].read_text()) if found else []
    said = "".join(path.read_text(errors="replace") for path in folder.glob("**/std*.txt"))
    failures = [told(check) for check in checks if check["status"] == "FAILURE"]
    warnings = [told(check) for check in checks if check["status"] == "WARNING"]
    if code < 0:
        failures.append("the suite did not end by itself")
    elif "CLIENT TIMED OUT" in output:
        failures.append("the client timed out")
    elif code and not failures and not warnings:
        client = re.search(r"Client exited with code (\d+)", output)
        failures.append(f"the client ended with {client[1]}" if client else f"the suite ended with {code}")
    elif not failures and not any(check["status"] == "SUCCESS" for check in checks):
        failures.append("nothing was checked")
    return Outcome(scenario, failures, warnings, output, said)


def told(check: dict) -> str:
    return f"{check['id']}: {check.get('errorMessage') or check['description']}"


def run_suite(suite: Suite, client_seconds: int) -> Counter:
    """Runs all of it, says a line for each scenario, and counts how they went."""
    scenarios = suite.scenarios()
    expected = expected_failures(suite, scenarios)
    print(f"-- {suite.release}", flush=True)
    went = Counter()
    with ThreadPoolExecutor(AT_A_TIME) as beside:
        for name in [each for each in scenarios if each in ALONE]:
            went[report(run_scenario(suite, name, client_seconds), expected)] += 1
        others = [each for each in scenarios if each not in ALONE]
        for outcome in beside.map(lambda name: run_scenario(suite, name, client_seconds), others):
            went[report(outcome, expected)] += 1
    return went


def report(outcome: Outcome, expected: dict[str, str]) -> str:
    """Says how a scenario went, and gives that in a word: passed, failed or expected."""
    name = outcome.scenario
    if name in expected and outcome.passed:
        print(f"FAILED            {name}: passes now, take it out of the baseline", flush=True)
        return "failed"
    if name in expected:
        print(f"expected failure  {name}: {expected[name]}", flush=True)
        return "expected"
    if outcome.passed:
        print(f"ok                {name}", flush=True)
        return "passed"
    print(f"{'FAILED ' if outcome.failures else 'WARNING'}           {name}")
    for line in outcome.failures + outcome.warnings:
        print(f"    {line}")
    for line in outcome.said.splitlines()[-10:]:
        print(f"    | {line}")
    sys.stdout.flush()
    return "failed"


def run_one(suite: Suite, scenario: str, client_seconds: int) -> bool:
    """Runs one and shows all that was said."""
    outcome = run_scenario(suite, scenario, client_seconds)
    print(f"-- {suite.release}\n{outcome.output}\n-- the client\n{outcome.said}")
    return report(outcome, {}) == "passed"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--scenario", help="run only this one, and show everything")
    options.add_argument("--version", choices=[suite.version for suite in SUITES], help="of the suite; both by default")
    options.add_argument("--timeout", type=int, default=CLIENT_SECONDS, help="seconds for the client in a scenario")
    chosen = options.parse_args()
    suites = [suite for suite in SUITES if chosen.version in (None, suite.version)]
    shutil.rmtree(RESULTS, ignore_errors=True)
    for needed in (NODE, CLIENT, *(suite.folder for suite in suites)):
        if not needed.exists():
            raise Unusable(f"{needed} is not there: use make conformance")
    if chosen.scenario:
        having = [suite for suite in suites if chosen.scenario in suite.scenarios()]
        if not having:
            raise Unusable(f"no suite has {chosen.scenario}")
        passed = [run_one(suite, chosen.scenario, chosen.timeout) for suite in having]
        return 0 if all(passed) else 1

    if suites == list(SUITES) and (gone := MUST_PASS - {name for suite in suites for name in suite.scenarios()}):
        raise Unusable(f"no suite has {', '.join(sorted(gone))}")
    went = sum((run_suite(suite, chosen.timeout) for suite in suites), Counter())
    print(f"{went['expected']} failed as expected")
    print(f"{went['passed']} passed, {went['failed']} failed")
    return 1 if went["failed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unusable as error:
        sys.exit(f"conformance: {error}")
