"""The options of a live run: the command line makes them, this room reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from inetprobe.kernel.frames.naming import StackOptions
from inetprobe.kernel.maps.cells import Counting
from inetprobe.record.filter import Filters

#: Bytes: some 22,000 records.
RING_SIZE = 1 << 23


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What to trace and how.

    ``ring_size``: bytes, a power of two and whole pages. ``maxactive``: how many threads may be inside one function at
    a time before a kretprobe misses returns, None for ``program.target.default_maxactive``. ``mechanism``: ``auto``,
    ``kprobe`` or ``fentry``. ``also``: more functions to trace, each string a comma-separated list. ``duration_s``:
    seconds, None to run until stopped. ``seccomp``: trace also what seccomp filters refuse. ``sock``: read the fields
    of each new sock. ``stack``: which stacks to record. ``counting``: with it the kernel keeps the tables of
    ``maps.cells`` and sends only the records that need an explanation, each at once; None sends every record.
    ``verbose``: show the whole log of the compiler and the verifier.
    """

    filters: Filters = field(default_factory=Filters)
    ring_size: int = RING_SIZE
    maxactive: int | None = None
    mechanism: str = "auto"
    also: tuple[str, ...] = ()
    duration_s: float | None = None
    seccomp: bool = False
    sock: bool = False
    stack: StackOptions | None = None
    counting: Counting | None = None
    verbose: bool = False
