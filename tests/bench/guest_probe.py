"""(a) In the guest, where a nanosecond is an instruction: what each tool adds to socket() and close()."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from inetprobe.base.errors import InetprobeError
from tests.bench import attached

# Small enough for inetprobe's ring to hold all records, and for ftrace's to be overwritten as it is meant to be.
_SOCKETS, _RUNS = 2000, 9
# (what is shown, what is attached, the most instructions it may add)
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
    ("ftrace function_graph, these three", attached.function_graph, None),
    ("bcc funclatency -r", attached.funclatency, None),
    ("bpftrace hist(), kprobe", lambda: attached.bpftrace_hist("kprobe"), None),
    ("perf record on kprobe events", lambda: attached.perf_record(Path("/tmp/perf.data")), None),
    ("bpftrace printf(), a line a socket", attached.bpftrace_printf, None),
]


def measured(loop: str) -> int:
    """The median of the loop's CPU time for a socket, in nanoseconds: instructions."""
    command = [loop, str(_SOCKETS), str(_RUNS)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Prints the rows as they come."""
    loop = sys.argv[1]
    measured(loop)
    base = measured(loop)
    print(f"{'nothing attached':38}{base:>8}    1.00", flush=True)
    for what, attach, target in ROWS:
        started = time.monotonic()
        try:
            with attach():
                subprocess.run([loop, "200", "1"], stdout=subprocess.DEVNULL, check=True)
                added = measured(loop) - base
        except (RuntimeError, InetprobeError, OSError, subprocess.SubprocessError) as error:
            print(f"{what:38} not measured: {error}", flush=True)
            continue
        goal = "" if target is None else f"    at most {target:,}: {'met' if added <= target else 'missed'}"
        print(f"{what:38}{added:>+8}    {1 + added / base:.2f}{goal}", flush=True)
        print(f"  {time.monotonic() - started:.0f} s of the guest's", file=sys.stderr, flush=True)
    print(f"{'nothing attached, again':38}{measured(loop) - base:>+8}")


if __name__ == "__main__":
    main()
