"""Replaying a million sockets: seconds, records a second and peak memory, each in a process of its own.

python tests/bench/bench_replay.py [SOCKETS]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from inetprobe.record import Batch
from inetprobe.run import Accounting
from inetprobe.sinks import OutputFile
from inetprobe.sinks.recording import RecordingSink
from tests import builders

_ROWS = 65536
JOBS = {
    "aggregated numbers": ["--failed", "--errno", "ENOENT", "--format", "line"],
    "JSON lines": ["--format", "json"],
    "Arrow": ["--failed", "--errno", "ENOENT", "--format", "line", "-o", "/dev/null"],
}


def make(path: Path, sockets: int) -> None:
    kinds = np.tile(builders.created(), _ROWS)
    kinds["start_ns"] = np.arange(_ROWS) * 10_000
    kinds["pid"] = np.arange(_ROWS) % 1000
    sink = RecordingSink(OutputFile.create(path), builders.run())
    for done in range(0, sockets, _ROWS):
        sink.batch(Batch(kinds[: sockets - done]), builders.run())
    sink.summary(Accounting(entries=sockets, complete=sockets))


def main() -> None:
    sockets = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.arrows"
        make(path, sockets)
        print(f"replay of {sockets:,} sockets, {path.stat().st_size / 1e6:.0f} MB")
        for name, options in JOBS.items():
            before = time.monotonic()
            child = subprocess.Popen(
                [sys.executable, "-m", "inetprobe", "replay", path, "-q", *options], stdout=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(child.pid, 0)
            took = time.monotonic() - before
            peak = usage.ru_maxrss / 1024
            assert status == 0
            print(f"  to {name:<20} {took:6.2f} s {sockets / took:>12,.0f} sockets/s {peak:6.0f} MB")


if __name__ == "__main__":
    main()
