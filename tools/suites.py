"""Everything that `make test` runs after `make check`, two suites at a time: a VM keeps about one CPU busy.

What each prints stays in build/SUITE.txt; how far it is is said once a minute, and all of it is shown where it fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
AT_ONCE = 2
SAY_EVERY_S = 60.0
_RESULTS = re.compile(r"^[.FEsxX]+(?= *\[|$)", re.MULTILINE)
_SUMMARY = re.compile(r"\d+ (?:passed|failed|error)")

PYTEST = [sys.executable, "-m", "pytest", "-q"]
LIVE = [sys.executable, str(ROOT / "tools" / "live.py")]


def live(names: str) -> list[str]:
    """The files of those live tests."""
    return [f"tests/live/test_{name}.py" for name in names.split()]


_FIRST = "known sweep counting deploy allocation closed_home kept machine modprobe serve"
_SECOND = "hard help_examples paths sock stack top trace truth"
#: The longest first. The live tests are in two VMs; what wants modules that are not loaded yet is in the first, since
#: SCTP stays once it is in, and the tutorial has a boot of its own for the same reason.
SUITES = {
    "live-1": [*LIVE, "--name", "live-1", "-q", "--durations=15", *live(_FIRST)],
    "live-2": [*LIVE, "--name", "live-2", "-q", "--durations=15", *live(_SECOND)],
    "tutorial": [*LIVE, "--name", "tutorial", "-q", "tests/live/test_tutorial.py"],
    "boot": [*PYTEST, "--durations=5", "tests/boot"],
    "browser": [*PYTEST, "--durations=5", "tests/browser"],
    "spark and viewers": [*PYTEST, "--durations=5", "tests/spark", "tests/viewers"],
    "prometheus": [*PYTEST, "--durations=5", "tests/prometheus"],
}  # fmt: skip


@dataclass
class Running:
    """A suite that has begun; ``log`` is what it prints."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    file: IO[bytes]
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, name: str) -> Running:
        """Begins the suite of that name."""
        log = BUILD / f"{name.replace(' ', '-')}.txt"
        file = log.open("wb")
        process = subprocess.Popen(
            SUITES[name], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        return cls(name, process, log, file)

    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def progress(self) -> str:
        """``live-1: 45 tests in 300 s``."""
        tests = sum(map(len, _RESULTS.findall(self.text())))
        return f"{self.name}: {tests} tests in {time.monotonic() - self.began:.0f} s"

    def end(self) -> bool:
        """Says how it ended; did it pass?"""
        self.file.close()
        passed = self.process.returncode == 0
        text = self.text()
        if not passed:
            print(f"===== {self.name} =====\n{text}", flush=True)
        last = [line.strip("= ") for line in text.splitlines() if _SUMMARY.search(line)][-1:]
        took = f"{time.monotonic() - self.began:.0f} s"
        word = "passed" if passed else f"FAILED with status {self.process.returncode}"
        say(f"{self.name} {word} in {took}: {''.join(last) or 'no summary'}")
        return passed


def say(line: str) -> None:
    """A line of progress."""
    print(f"test: {line}", flush=True)


def main() -> int:
    """0 if every suite passed."""
    BUILD.mkdir(exist_ok=True)
    waiting, running, failed = list(SUITES), list[Running](), list[str]()
    began = said = time.monotonic()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            running.append(Running.start(waiting.pop(0)))
            say(f"{running[-1].name} begins")
        time.sleep(0.5)
        for suite in [suite for suite in running if suite.process.poll() is not None]:
            running.remove(suite)
            if not suite.end():
                failed.append(suite.name)
        if time.monotonic() - said >= SAY_EVERY_S and running:
            said = time.monotonic()
            say("; ".join(suite.progress() for suite in running))
    say(f"{len(SUITES) - len(failed)} suites passed, {len(failed)} failed in {time.monotonic() - began:.0f} s")
    for name in failed:
        say(f"failed: {name}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
