"""For (d), in the guest: trace-cmd and perf record the same sockets, without a loss, for their own reports."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import attached

SOCKETS = 50_000


def main() -> None:
    """Writes ``trace.dat`` and ``perf.data`` into the folder named last."""
    loop, folder = sys.argv[1], Path(sys.argv[2])
    limits = [word for function in attached.FUNCTIONS for word in ("-l", function)]
    make = [loop, str(SOCKETS), "1"]
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # they would lose events on a slow file system
        trace, data = Path(name) / "trace.dat", Path(name) / "perf.data"
        room = ["-b", "65536"]  # kB per CPU
        with attached.running(["trace-cmd", "record", "-q", *room, "-o", str(trace), "-p", "function_graph", *limits]):
            subprocess.run(make, stdout=subprocess.DEVNULL, check=True)
        with attached.perf_record(data, "-m", "32768"):
            subprocess.run(make, stdout=subprocess.DEVNULL, check=True)
        for path in trace, data:
            shutil.copy(path, folder)
            print(f"{path.name:38}{path.stat().st_size / 1e6:>8.1f} MB of {SOCKETS:,} sockets", flush=True)


if __name__ == "__main__":
    main()
