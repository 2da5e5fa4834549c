"""(c) In the guest, with two CPUs: the highest rate at which two threads' sockets are all told, by each tool.

What is told leaves the kernel and is written down: a recording, a file of lines, trace.dat. The rate goes down step by
step from as fast as it can until nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from inetprobe.base.files import OutputFile
from inetprobe.kernel.source import LiveSource
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.arrow.writer import RecordingWriter
from inetprobe.record.filter import Filters
from inetprobe.trace.output.summary import summary_line
from inetprobe.trace.pump import pump
from tests.bench import attached

_SOCKETS = 20_000  # each of the two
_STEPS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.2, 0.16, 0.13, 0.1, 0.08, 0.06, 0.04)
Told = Callable[[], int]


def pair(pace: list[str], rate: float) -> float:
    """Two makers at once, at ``rate`` sockets a second together (0: as fast as they can); the rate they had."""
    command = [*pace, str(_SOCKETS), str(int(rate / 2))]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    took = [int(maker.communicate()[0]) for maker in makers]
    return 2 * _SOCKETS / (max(took) / 1e6)


@contextlib.contextmanager
def inetprobe(mechanism: str, folder: Path) -> Iterator[Told]:
    """As ``record`` runs: everything into a recording."""
    with LiveSource.of_kernel(TraceOptions(mechanism=mechanism), None, attached.silent) as source:
        sink = RecordingWriter(OutputFile.create(folder / f"{mechanism}.arrows"), source.run)

        def run() -> None:
            os.setpriority(os.PRIO_PROCESS, 0, -10)  # of this thread, as the command does; the makers keep theirs
            pump(source, Filters(), [sink])

        source.start()
        thread = threading.Thread(target=run)
        thread.start()
        yield lambda: source.accounting().complete
        source.stop()
        thread.join()
        print(f"  inetprobe, {mechanism}: {summary_line(source.accounting())}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def bpftrace(folder: Path) -> Iterator[Told]:
    """A line a socket into a file."""
    lines = folder / "bpftrace.txt"
    with attached.running(["bpftrace", "-o", str(lines), "-e", attached.PRINTF]):
        yield lambda: lines.read_bytes().count(b"pace ")


@contextlib.contextmanager
def trace_cmd(folder: Path) -> Iterator[Told]:
    """function_graph of the three functions into trace.dat; what its buffers lost, trace-cmd's own threads count."""
    limits = [word for f in attached.FUNCTIONS for word in ("-l", f)]
    data = folder / "trace.dat"
    before = 0

    def told() -> int:
        # Per-CPU counts of what was overwritten before it could be read: a call is a line of its own, or two.
        lost = sum(_lost(stats.read_text()) for stats in attached.TRACEFS.glob("per_cpu/cpu*/stats"))
        return _SOCKETS * 2 if lost == before else 0

    with attached.running(["trace-cmd", "record", "-q", "-o", str(data), "-p", "function_graph", *limits]):
        before = sum(_lost(stats.read_text()) for stats in attached.TRACEFS.glob("per_cpu/cpu*/stats"))
        yield told


def _lost(stats: str) -> int:
    return sum(int(line.split(":")[1]) for line in stats.splitlines() if line.startswith(("overrun", "dropped")))


def highest(what: str, pace: list[str], base: float, told: Told, per_step: bool) -> None:
    """Prints the row of one tool: the first step at which all was told."""
    seen = 0
    for step in _STEPS:
        rate = pair(pace, 0 if step == 1.0 else base * step)
        deadline = time.monotonic() + 20
        while (now := told()) - seen < 2 * _SOCKETS and time.monotonic() < deadline and not per_step:
            time.sleep(0.5)
        complete = (now if per_step else now - seen) >= 2 * _SOCKETS
        seen = now
        if complete:
            print(f"{what:38}{rate / base:>8.2f} of the untraced rate", flush=True)
            return
    print(f"{what:38}    lost some even at {_STEPS[-1]:.2f} of the untraced rate", flush=True)


def main() -> None:
    """Prints the rows as they come."""
    pace = sys.argv[1]
    base = max(pair([pace], 0) for _ in range(3))
    print(f"{'untraced':38}{1:>8.2f}", flush=True)
    strace = ["strace", "-f", "-c", "-o", "/dev/null", "-e", "trace=socket", pace]
    print(f"{'strace -c -e trace=socket':38}{pair(strace, 0) / base:>8.2f} of the untraced rate", flush=True)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        tools: list[tuple[str, Callable[[], contextlib.AbstractContextManager[Told]], bool]] = [
            ("inetprobe record, fentry", lambda: inetprobe("fentry", folder), False),
            ("inetprobe record, kprobe", lambda: inetprobe("kprobe", folder), False),
            ("trace-cmd record -p function_graph", lambda: trace_cmd(folder), True),
            ("bpftrace printf(), kprobe", lambda: bpftrace(folder), False),
        ]
        for what, attach, per_step in tools:
            with attach() as told:
                highest(what, [pace], base, told, per_step)


if __name__ == "__main__":
    main()
