"""Deploys template.yaml to the local AWS, with binaries built on this machine.

The template is the same as for AWS except for `CodeUri`. The parameter `Architecture` is this machine's.
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
# Interval at which `sam deploy` polls the stack's state, in seconds. Its default of 5 s is for AWS, which limits calls.
POLL_SECONDS = "0.1"
ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def local_template(bootstraps: Path) -> str:
    """Returns template.yaml with each function's `CodeUri` set to its package in the folder `bootstraps`."""
    lines, binary = [], None
    for line in (ROOT / "template.yaml").read_text().splitlines():
        if found := re.match(r"\s+Binary: (\S+)", line):
            binary = found.group(1)
        if re.match(r"\s+CodeUri: \.$", line):
            line = line.replace("CodeUri: .", f"CodeUri: {bootstraps / binary}.zip")
        lines.append(line)
    return "\n".join(lines) + "\n"


def place_bootstraps(folder: Path, profile: str = "debug") -> Path:
    """Writes each function's deployment package, `<function>.zip`, into `folder`.

    The packages are not compressed: they stay on this machine, and are unpacked for each copy of a function.
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
    """Deploys the stack with `sam deploy` and returns its outputs."""
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
        # An existing bucket: `--resolve-s3` first deploys a stack for a bucket, and polls that stack every 15 s.
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
