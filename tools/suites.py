"""Everything that `make test` runs after `make check`, suite by suite.

What each prints stays in build/SUITE.txt; how far it is is said once a minute, and all of it is shown where it fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
SAY_EVERY_S = 60.0
_RESULTS = re.compile(r"^[.FEsxX]+(?= *\[|$)", re.MULTILINE)
_SUMMARY = re.compile(r"\d+ (?:passed|failed|error)")

PYTEST = [sys.executable, "-m", "pytest", "-q"]
LIVE = [sys.executable, "-m", "tools.live"]


def live(name: str, *arguments: str, cpus: int = 1) -> list[str]:
    """The live tests that ``arguments`` select, in a VM of their own."""
    return [*LIVE, "--name", name, "--cpus", str(cpus), "-q", "--durations=20", *arguments]


#: Half of the tests of one CPU, by the time that they take.
HALF = [
    f"tests/live/test_{name}.py"
    for name in (
        "known",
        "sweep",
        "allocation",
        "counting",
        "deploy",
        "families",
        "lacking",
        "modprobe",
        "seccomp",
        "security_module",
        "serve",
        "situations",
        "sock",
        "symbols",
    )
]
#: As they are printed, and so on two or four CPUs, which are mostly idle: not beside a live suite.
VM_EXAMPLES = "tests/boot/test_help_examples.py"
#: Two at a time: each keeps one CPU busy. A VM of one CPU is as fast beside another one as alone; two of two CPUs each
#: were three times as slow on two CPUs as one alone. The tutorial has a boot of its own: SCTP stays once it is loaded.
SIDE_BY_SIDE = {
    "live 1": live("live-1", "-m", "live and not two_cpus", *HALF),
    "live 2": live("live-2", "-m", "live and not two_cpus", *(f"--ignore={file}" for file in HALF), "tests/live"),
    "tutorial": live("tutorial", "tests/live/test_tutorial.py"),
    "boot": [*PYTEST, "--durations=5", f"--ignore={VM_EXAMPLES}", "tests/boot"],  # VMs of one CPU
    "Debian 13": [sys.executable, "-m", "tools.systems", "--part", "short", "trixie"],  # a VM of one CPU
    "browser": [*PYTEST, "--durations=5", "tests/browser"],
    "spark and viewers": [*PYTEST, "--durations=5", "tests/spark", "tests/viewers"],
    "prometheus": [*PYTEST, "--durations=5", "tests/prometheus"],
    "examples of vm": [*PYTEST, "--durations=5", VM_EXAMPLES],
    "compilers": [*PYTEST, "-n", "2", "--durations=5", "tests/compilers"],  # the last one has both CPUs
}
ALONE = {"live on two CPUs": live("live-two-cpus", "-m", "live and two_cpus", "tests/live", cpus=2)}
#: What the live tests together must have seen.
LAST = {"rules": [sys.executable, "-m", "tools.books", "--rules"]}
#: Suites, and how many of them run at a time.
STAGES = ((SIDE_BY_SIDE, 2), (ALONE, 1), (LAST, 1))


@dataclass
class Running:
    """A suite that has begun; ``log`` is what it prints."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    file: IO[bytes]
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, name: str, command: Sequence[str]) -> Running:
        """Begins a suite."""
        log = BUILD / f"{name.replace(' ', '-')}.txt"
        file = log.open("wb")
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
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
        text = self.text()
        last = [line.strip("= ") for line in text.splitlines() if _SUMMARY.search(line)][-1:]
        passed = self.process.returncode == 0 and bool(last)
        if not passed:
            print(f"===== {self.name} =====\n{text}", flush=True)
        took = f"{time.monotonic() - self.began:.0f} s"
        word = "passed" if passed else f"FAILED with status {self.process.returncode}"
        say(f"{self.name} {word} in {took}: {''.join(last) or 'no summary'}")
        return passed


def say(line: str) -> None:
    """A line of progress."""
    print(f"test: {line}", flush=True)


def run(suites: Mapping[str, Sequence[str]], at_once: int) -> list[str]:
    """Runs the suites, ``at_once`` at a time; the names of those that failed."""
    waiting, running, failed = list(suites), list[Running](), list[str]()
    said = time.monotonic()
    while waiting or running:
        while waiting and len(running) < at_once:
            name = waiting.pop(0)
            running.append(Running.start(name, suites[name]))
            say(f"{name} begins")
        time.sleep(0.5)
        for suite in [suite for suite in running if suite.process.poll() is not None]:
            running.remove(suite)
            if not suite.end():
                failed.append(suite.name)
        if time.monotonic() - said >= SAY_EVERY_S and running:
            said = time.monotonic()
            say("; ".join(suite.progress() for suite in running))
    return failed


def run_stages(stages: Sequence[tuple[Mapping[str, Sequence[str]], int]]) -> int:
    """Runs each stage's suites, so many at a time as it says; 0 if there were any and every one passed."""
    BUILD.mkdir(exist_ok=True)
    began = time.monotonic()
    failed, count = list[str](), 0
    for suites, at_once in stages:
        failed += run(suites, at_once)
        count += len(suites)
    say(f"{time.monotonic() - began:.0f} s; failed: {', '.join(failed) or 'none'}")
    print(f"suites: {count - len(failed)} passed, {len(failed)} failed", flush=True)
    return int(bool(failed) or not count)


def main() -> int:
    """0 if every suite passed. The suites are those whose names begin with one of the arguments, all without any."""
    chosen = tuple(sys.argv[1:]) or ("",)
    return run_stages(
        [
            ({name: command for name, command in suites.items() if name.startswith(chosen)}, at_once)
            for suites, at_once in STAGES
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
