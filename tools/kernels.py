"""The live tests on every kernel: ``kernels.py [KERNEL …] [-- PYTEST ARGUMENTS]``.

One boot per kernel, one line when each ends, and a table at the end. The output of each is in build/live-KERNEL.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from inetprobe.vm.kernels import SUITES

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"


@dataclass(frozen=True)
class Outcome:
    """How one kernel's tests ended; ``last`` is pytest's own summary line."""

    kernel: str
    status: int
    seconds: float
    last: str

    def line(self) -> str:
        """A row of the table."""
        return f"{self.kernel:<6} {'passed' if not self.status else 'FAILED':<7} {self.seconds:>5.0f} s  {self.last}"


def run(kernel: str, arguments: list[str]) -> Outcome:
    """Boots ``kernel`` and runs the live tests in it."""
    log = BUILD / f"live-{kernel}.txt"
    started = time.monotonic()
    with log.open("w") as out:
        status = subprocess.run(
            [sys.executable, "-m", "tools.live", "-q", "-rA", "--durations=20", *(arguments or ["tests/live"])],
            env={**os.environ, "INETPROBE_LIVE_KERNEL": kernel, "INETPROBE_LIVE_CYCLES": "50"},
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            check=False,
        ).returncode
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    results = (line for line in reversed(lines) if " passed" in line or " failed" in line)
    last = next(results, lines[-1] if lines else "")
    return Outcome(kernel, status, time.monotonic() - started, last)


def main() -> int:
    """0 if every kernel passed."""
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    kernels, arguments = words[:split] or list(SUITES), words[split + 1 :]
    BUILD.mkdir(exist_ok=True)
    outcomes = []
    for kernel in kernels:
        outcomes.append(run(kernel, arguments))
        print(outcomes[-1].line(), flush=True)
    if len(outcomes) > 1:
        print("\n" + "\n".join(outcome.line() for outcome in outcomes))
        print(f"the accounting of every run: {sys.executable} tools/books.py")
    return int(any(outcome.status for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
