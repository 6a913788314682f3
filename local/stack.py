"""Deploys template.yaml to the local AWS, with bootstraps built here.

The template is the one that goes to AWS; only `CodeUri` differs, and the architecture, which is this
machine's.
"""

import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from .aws import LocalAws
from .processes import ROOT, TARGET

FUNCTIONS = ("list-available-agents", "agent-processor", "agent-jobs", "connections-api")
BUCKET = "deployments"
# How often `sam deploy` asks whether the stack is there. Its own 5 s are for AWS, whose calls are limited.
POLL_SECONDS = "0.1"
ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def local_template(bootstraps: Path) -> str:
    """template.yaml with each function's `CodeUri` at its package in the folder `bootstraps`."""
    lines, binary = [], None
    for line in (ROOT / "template.yaml").read_text().splitlines():
        if found := re.match(r"\s+Binary: (\S+)", line):
            binary = found.group(1)
        if re.match(r"\s+CodeUri: \.$", line):
            line = line.replace("CodeUri: .", f"CodeUri: {bootstraps / binary}.zip")
        lines.append(line)
    return "\n".join(lines) + "\n"


def place_bootstraps(folder: Path, profile: str = "debug") -> Path:
    """Puts each function's package where a deployment takes it from: `<function>.zip`.

    Nothing in it is compressed: it goes no further than this machine, and is unpacked for each copy of a function.
    """
    missing = [str(TARGET / profile / function) for function in FUNCTIONS if not (TARGET / profile / function).exists()]
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)}: not built yet; run `make {'build' if profile == 'release' else 'debug'}`"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for function in FUNCTIONS:
        with zipfile.ZipFile(folder / f"{function}.zip", "w", zipfile.ZIP_STORED) as package:
            package.write(TARGET / profile / function, "bootstrap")
    return folder


def deploy(aws: LocalAws, bootstraps: Path, name: str = "mcp-agents", **parameters: str) -> dict[str, str]:
    """Deploys with `sam deploy` and gives the stack's outputs."""
    aws.client("s3").create_bucket(Bucket=BUCKET)
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
        # A bucket that is there: `--resolve-s3` deploys a stack for one first, and looks every 15 s whether it is done.
        "--s3-bucket",
        BUCKET,
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
        env=aws.environment | {"SAM_CLI_POLL_DELAY": POLL_SECONDS},
        cwd=aws.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"sam deploy failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    stack = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
