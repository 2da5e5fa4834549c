"""(c) In the guest, with two CPUs: the highest rate of two busy processes at which each tool reports every socket.

Reported means written to a file: a recording, lines of text, trace.dat. The rate goes down in steps, from full speed,
until nothing is lost.
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

_SOCKETS = 20_000  # by each of the two processes
_STEPS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25, 0.2, 0.16, 0.13, 0.1, 0.08, 0.06, 0.04)
Reported = Callable[[], int]


def pair(pace: list[str], rate: float) -> float:
    """Runs two makers at ``rate`` sockets per second together (0: at full speed). Returns the rate they reached."""
    command = [*pace, str(_SOCKETS), str(int(rate / 2))]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    took = [int(maker.communicate()[0]) for maker in makers]
    return 2 * _SOCKETS / (max(took) / 1e6)


@contextlib.contextmanager
def inetprobe(mechanism: str, folder: Path) -> Iterator[Reported]:
    """As ``record`` runs: writes every record into a recording."""
    with LiveSource.of_kernel(TraceOptions(mechanism=mechanism), None, attached.silent) as source:
        sink = RecordingWriter(OutputFile.create(folder / f"{mechanism}.arrows"), source.run)

        def run() -> None:
            os.setpriority(os.PRIO_PROCESS, 0, -10)  # of this thread, as the command does; the makers keep 0
            pump(source, Filters(), [sink])

        source.start()
        thread = threading.Thread(target=run)
        thread.start()
        yield lambda: source.accounting().complete
        source.stop()
        thread.join()
        print(f"  inetprobe, {mechanism}: {summary_line(source.accounting())}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def bpftrace(folder: Path) -> Iterator[Reported]:
    """Writes a line per socket into a file."""
    lines = folder / "bpftrace.txt"
    with attached.running(["bpftrace", "-o", str(lines), "-e", attached.PRINTF]):
        yield lambda: lines.read_bytes().count(b"pace ")


@contextlib.contextmanager
def trace_cmd(folder: Path) -> Iterator[Reported]:
    """Writes function_graph of the three functions into trace.dat; ftrace counts what its buffers lost."""
    limits = [word for f in attached.FUNCTIONS for word in ("-l", f)]
    data = folder / "trace.dat"
    before = 0

    def reported() -> int:
        # A call is one event or two, so the sockets cannot be counted: without a loss all were reported.
        lost = sum(_lost(stats.read_text()) for stats in attached.TRACEFS.glob("per_cpu/cpu*/stats"))
        return _SOCKETS * 2 if lost == before else 0

    with attached.running(["trace-cmd", "record", "-q", "-o", str(data), "-p", "function_graph", *limits]):
        before = sum(_lost(stats.read_text()) for stats in attached.TRACEFS.glob("per_cpu/cpu*/stats"))
        yield reported


def _lost(stats: str) -> int:
    return sum(int(line.split(":")[1]) for line in stats.splitlines() if line.startswith(("overrun", "dropped")))


def highest(name: str, pace: list[str], base: float, reported: Reported, per_step: bool) -> None:
    """Prints the row of one tool: the first step at which every socket was reported."""
    seen = 0
    for step in _STEPS:
        rate = pair(pace, 0 if step == 1.0 else base * step)
        deadline = time.monotonic() + 20
        while (now := reported()) - seen < 2 * _SOCKETS and time.monotonic() < deadline and not per_step:
            time.sleep(0.5)
        complete = (now if per_step else now - seen) >= 2 * _SOCKETS
        seen = now
        if complete:
            print(f"{name:38}{rate / base:>8.2f} of the untraced rate", flush=True)
            return
    print(f"{name:38}    lost some even at {_STEPS[-1]:.2f} of the untraced rate", flush=True)


def main() -> None:
    """Prints each row when it has been measured."""
    pace = sys.argv[1]
    base = max(pair([pace], 0) for _ in range(3))
    print(f"{'untraced':38}{1:>8.2f}", flush=True)
    strace = ["strace", "-f", "-c", "-o", "/dev/null", "-e", "trace=socket", pace]
    print(f"{'strace -c -e trace=socket':38}{pair(strace, 0) / base:>8.2f} of the untraced rate", flush=True)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        tools: list[tuple[str, Callable[[], contextlib.AbstractContextManager[Reported]], bool]] = [
            ("inetprobe record, fentry", lambda: inetprobe("fentry", folder), False),
            ("inetprobe record, kprobe", lambda: inetprobe("kprobe", folder), False),
            ("trace-cmd record -p function_graph", lambda: trace_cmd(folder), True),
            ("bpftrace printf(), kprobe", lambda: bpftrace(folder), False),
        ]
        for tool, attach, per_step in tools:
            with attach() as reported:
                highest(tool, [pace], base, reported, per_step)


if __name__ == "__main__":
    main()
