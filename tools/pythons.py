"""Types and the fast tests under each Python that pyproject.toml names: ``pythons.py [3.N …]``.

One that this machine neither has nor can get is named and left out. The output of each is in build/python-3.N.txt.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_HERE = 4  # tools/setup.sh's status
CHECKS = {
    "types": ["-m", "mypy"],
    "tests": ["-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal"],
}


def versions() -> list[str]:
    """3.11, 3.12, …: the Pythons among pyproject.toml's classifiers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [match[1] for line in project["classifiers"] if (match := re.search(r":: Python :: (3\.\d+)$", line))]


def check(version: str) -> str:
    """``passed``, ``not here``, or which of the checks failed."""
    log = ROOT / "build" / f"python-{version}.txt"
    status = subprocess.run(["tools/setup.sh", "python", version], cwd=ROOT, check=False).returncode
    if status == NOT_HERE:
        return "not here"
    if status:
        return "failed to install"
    python = ROOT / "build" / f"python-{version}" / "bin" / "python"
    failed = []
    with log.open("w") as out:
        for name, arguments in CHECKS.items():
            done = subprocess.run([python, *arguments], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                failed.append(name)
    if failed:
        print(log.read_text(errors="replace"), flush=True)
    return f"failed: {' and '.join(failed)}" if failed else "passed"


def main() -> int:
    """0 if none failed and at least one passed."""
    results = {}
    for version in sys.argv[1:] or versions():
        results[version] = check(version)
        print(f"pythons: {version} {results[version]}", flush=True)
    counts = [sum(result.startswith(word) for result in results.values()) for word in ("passed", "failed", "not here")]
    print("pythons: {} passed, {} failed, {} skipped".format(*counts), flush=True)
    return int(bool(counts[1]) or not counts[0])


if __name__ == "__main__":
    sys.exit(main())
