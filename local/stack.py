"""Deploys template.yaml to the local AWS, with bootstraps built here.

The template is the one that goes to AWS; only `CodeUri` differs, and the architecture, which is this
machine's.
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .aws import LocalAws
from .processes import ROOT, TARGET

FUNCTIONS = ("list-available-agents", "agent-processor", "agent-jobs", "connections-api")
ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def local_template(bootstraps: Path) -> str:
    """template.yaml with each function's `CodeUri` at its folder below `bootstraps`."""
    lines, binary = [], None
    for line in (ROOT / "template.yaml").read_text().splitlines():
        if found := re.match(r"\s+Binary: (\S+)", line):
            binary = found.group(1)
        if re.match(r"\s+CodeUri: \.$", line):
            line = line.replace("CodeUri: .", f"CodeUri: {bootstraps / binary}")
        lines.append(line)
    return "\n".join(lines) + "\n"


def place_bootstraps(folder: Path, profile: str = "debug") -> Path:
    """Puts each function's binary where a deployment takes it from: `<function>/bootstrap`."""
    missing = [str(TARGET / profile / function) for function in FUNCTIONS if not (TARGET / profile / function).exists()]
    if missing:
        raise RuntimeError(f"{', '.join(missing)}: not built yet; run `make {'build' if profile == 'release' else 'debug'}`")
    for function in FUNCTIONS:
        bootstrap = folder / function / "bootstrap"
        bootstrap.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TARGET / profile / function, bootstrap)
    return folder


def deploy(aws: LocalAws, bootstraps: Path, name: str = "mcp-agents", **parameters: str) -> dict[str, str]:
    """Deploys with `sam deploy` and gives the stack's outputs."""
    template = aws.folder / "template.yaml"
    template.write_text(local_template(bootstraps))
    parameters = {"Architecture": ARCHITECTURE} | parameters
    command = [
        Path(sys.executable).parent / "sam",
        "deploy",
        "--template-file",
        template,
        "--stack-name",
        name,
        "--resolve-s3",
        "--capabilities",
        "CAPABILITY_IAM",
        "CAPABILITY_AUTO_EXPAND",
        "--no-confirm-changeset",
        "--no-progressbar",
        "--parameter-overrides",
        *[f"{key}={value}" for key, value in parameters.items()],
    ]
    done = subprocess.run(
        [str(part) for part in command],
        env=aws.environment,
        cwd=aws.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"sam deploy failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    stack = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
