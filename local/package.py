"""Checks the output of `sam build`: one bootstrap per function, built for the requested architecture.

Run: python -m local.package BUILD_FOLDER ARCHITECTURE FUNCTION...
"""

import sys
from pathlib import Path

# Values of e_machine in the ELF header (System V ABI).
MACHINES = {"arm64": 183, "x86_64": 62}


def machine(binary: Path) -> int:
    header = binary.read_bytes()[:20]
    if header[:4] != b"\x7fELF":
        raise SystemExit(f"{binary} is no ELF binary")
    return int.from_bytes(header[18:20], "little")


def main():
    folder, architecture, *functions = sys.argv[1:]
    found = sorted(Path(folder).glob("*/bootstrap"))
    if len(found) != len(functions):
        raise SystemExit(f"{folder} holds {len(found)} bootstraps, not one for each of {', '.join(functions)}")
    for bootstrap in found:
        if machine(bootstrap) != MACHINES[architecture]:
            raise SystemExit(f"{bootstrap} is not for {architecture}")
        print(f"{bootstrap.parent.name:<32} {bootstrap.stat().st_size / 1e6:5.1f} MB  {architecture}")


if __name__ == "__main__":
    main()
