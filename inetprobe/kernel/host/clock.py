"""The kernel's boot clock, in which records are timed, against the wall clock and this process's own boot clock."""

from __future__ import annotations

import re
import time
from pathlib import Path

_READINGS = 5


def namespace_offset_ns(offsets: Path = Path("/proc/self/timens_offsets")) -> int:
    """Nanoseconds by which this time namespace's CLOCK_BOOTTIME is ahead of the kernel's (kernel/time/namespace.c)."""
    try:
        boottime = re.search(r"^boottime +(-?\d+) +(\d+)$", offsets.read_text(), re.MULTILINE)
    except FileNotFoundError:  # a kernel without time namespaces
        return 0
    return int(boottime[1]) * 10**9 + int(boottime[2]) if boottime else 0


def wall_offset_ns(namespace_ns: int = 0) -> int:
    """Nanoseconds from the kernel's boot clock to the Unix epoch's: the tightest of a few readings.

    ``namespace_ns``: what ``namespace_offset_ns`` says.
    """
    best = None
    for _ in range(_READINGS):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.time_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if best is None or after - before < best[0]:
            best = after - before, wall - (before + after) // 2
    assert best is not None
    return best[1] + namespace_ns
