"""(a) In the guest, where a nanosecond is an instruction: the cost that each tool adds to socket() and close()."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from inetprobe.base.errors import InetprobeError
from tests.bench import attached

# Few enough for inetprobe's ring to hold all records; ftrace's is overwritten, as it is meant to be.
_SOCKETS, _RUNS = 2000, 9
# (name of the row, its context manager, maximum of added instructions)
ROWS: list[tuple[str, Callable[[], AbstractContextManager[object]], int | None]] = [
    ("empty fentry pairs (the floor)", lambda: attached.empty("fentry"), None),
    ("inetprobe, fentry: a record", lambda: attached.ours("fentry", "record"), 1700),
    ("inetprobe, fentry: counted", lambda: attached.ours("fentry", "counted"), 1300),
    ("inetprobe, fentry: filtered out", lambda: attached.ours("fentry", "filtered"), 1000),
    ("bpftrace hist(), kfunc", lambda: attached.bpftrace_hist("fentry"), None),
    ("empty kprobe pairs (the floor)", lambda: attached.empty("kprobe"), None),
    ("inetprobe, kprobe: a record", lambda: attached.ours("kprobe", "record"), 3400),
    ("inetprobe, kprobe: counted", lambda: attached.ours("kprobe", "counted"), 3000),
    ("inetprobe, kprobe: filtered out", lambda: attached.ours("kprobe", "filtered"), 2550),
    ("ftrace function_graph, these four", attached.function_graph, None),
    ("bcc funclatency -r", attached.funclatency, None),
    ("bpftrace hist(), kprobe", lambda: attached.bpftrace_hist("kprobe"), None),
    ("perf record on kprobe events", lambda: attached.perf_record(Path("/tmp/perf.data")), None),
    ("bpftrace printf(), a line per socket", attached.bpftrace_printf, None),
]


def measured(loop: str, family: int = socket.AF_INET) -> int:
    """Returns the median of the loop's CPU time per socket in nanoseconds, which are instructions."""
    command = [loop, str(_SOCKETS), str(_RUNS), str(int(family))]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Prints each row when it has been measured."""
    loop = sys.argv[1]
    measured(loop)
    base = measured(loop)
    other_base = measured(loop, socket.AF_UNIX)
    print(f"{'nothing attached':38}{base:>8}    1.00", flush=True)
    print(f"{'nothing attached, AF_UNIX':38}{other_base:>8}    1.00", flush=True)
    for name, attach, target in ROWS:
        started = time.monotonic()
        try:
            with attach():
                subprocess.run([loop, "200", "1"], stdout=subprocess.DEVNULL, check=True)
                added = measured(loop) - base
                other = measured(loop, socket.AF_UNIX) - other_base
        except (RuntimeError, InetprobeError, OSError, subprocess.SubprocessError) as error:
            print(f"{name:38} not measured: {error}", flush=True)
            continue
        goal = "" if target is None else f"    at most {target:,}: {'met' if added <= target else 'missed'}"
        print(f"{name:38}{added:>+8}    {1 + added / base:.2f}{goal}", flush=True)
        print(f"{'  AF_UNIX':38}{other:>+8}    {1 + other / other_base:.2f}", flush=True)
        print(f"  {time.monotonic() - started:.0f} s of the guest's time", file=sys.stderr, flush=True)
    print(f"{'nothing attached, again':38}{measured(loop) - base:>+8}")


if __name__ == "__main__":
    main()
