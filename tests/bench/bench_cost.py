"""What watching costs the watched: CPU time of socket()+close(), nothing attached and with each way of counting.

``bench_cost.py`` boots a VM, in which ``bench_cost.py guest LOOP`` measures the same loop in one run after another. An
emulated VM's times are distorted: the ratios count.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from inetprobe import kernels
from inetprobe.buckets import DEFAULT_BOUNDS_NS
from inetprobe.filters import build
from inetprobe.kernel.cells import Counting
from inetprobe.sources.counting import CountingSource
from inetprobe.sources.live import LiveOptions, LiveSource
from inetprobe.vm import run_in_vm


def measured(loop: str) -> int:
    """The loop's own median, in nanoseconds."""
    return int(subprocess.run([loop], capture_output=True, text=True, check=True).stdout)


def beside(source: LiveSource, loop: str) -> int:
    """The loop's median while ``source`` watches."""

    def take() -> None:
        for _ in source.batches():
            pass

    with source:
        if isinstance(source, CountingSource):
            source.start()
        thread = threading.Thread(target=take)
        thread.start()
        try:
            measured(loop)
            return measured(loop)
        finally:
            source.stop()
            thread.join()


def guest(loop: str) -> None:
    """Prints the table."""
    counting = Counting(DEFAULT_BOUNDS_NS, slow_ns=10**12, rate_limit=1000)
    measured(loop)
    base = measured(loop)
    print("nothing attached: 1.00", flush=True)
    for mechanism in ("fentry", "kprobe"):
        for way in ("counted, as by serve", "filtered out", "a record each"):
            if way.startswith("counted"):
                source: LiveSource = CountingSource(LiveOptions(mechanism=mechanism, counting=counting), None, print)
            else:
                filters = build({"pid": ("1",)} if way == "filtered out" else {})
                source = LiveSource(LiveOptions(filters=filters, mechanism=mechanism), None, print)
            print(f"{mechanism}, {way}: {beside(source, loop) / base:.2f}", flush=True)
    print(f"nothing attached, again: {measured(loop) / base:.2f}")


def main() -> int:
    """The exit status of what ran in the VM."""
    if sys.argv[1:2] == ["guest"]:
        guest(sys.argv[2])
        return 0
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        loop = f"{folder}/loop"
        subprocess.run(["gcc", "-O2", "-o", loop, str(Path(__file__).with_name("loop.c"))], check=True)
        kernel = kernels.resolve(None, lambda line: print(line, file=sys.stderr))
        return run_in_vm([sys.executable, "-m", "tests.bench.bench_cost", "guest", loop], kernel=kernel)


if __name__ == "__main__":
    sys.exit(main())
