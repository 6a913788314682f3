"""Deployment packages: installs the peer's packages, and measures the zipped size of each function."""

import hashlib
import io
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from local.processes import TARGET

REQUIREMENTS = Path(__file__).resolve().parent / "peer" / "requirements.txt"
PEER_VENV = TARGET / "bench" / "peer-venv"
# Packages that every venv has, but that no deployment package contains.
NOT_DEPLOYED = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")


def peer_python() -> Path:
    """Returns the Python of the peer's venv. Creates the venv if the requirements have changed."""
    python = PEER_VENV / "bin" / "python"
    stamp = PEER_VENV / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        print("installing the peer's packages (once)…", file=sys.stderr)
        venv.create(PEER_VENV, clear=True, with_pip=True)
        # Compiled, as packages for Lambda are: the time to compile is not part of the peer's start.
        install = [python, "-m", "pip", "install", "--quiet", "--compile", "--requirement", REQUIREMENTS]
        subprocess.run(install, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        stamp.write_text(wanted)
    return python


def peer_versions() -> str:
    """Returns the peer's packages and their versions, from its requirements."""
    lines = REQUIREMENTS.read_text().splitlines()
    return ", ".join(line.replace("==", " ") for line in lines if not line.startswith("#"))


def peer_files() -> list[tuple[Path, str]]:
    """Returns the files of the peer's deployment package: its packages without byte code, and its source file."""
    (site,) = PEER_VENV.glob("lib/python*/site-packages")
    files = [(REQUIREMENTS.parent / "list_available_agents.py", "list_available_agents.py")]
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site)
        deployed = not name.parts[0].startswith(NOT_DEPLOYED) and "__pycache__" not in name.parts
        if path.is_file() and deployed:
            files.append((path, str(name)))
    return files


def zipped_megabytes(files: list[tuple[Path, str]]) -> float:
    """Returns the size of a zip of these files, in MB of 10^6 bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for path, name in files:
            package.write(path, name)
    return packed.tell() / 1e6
