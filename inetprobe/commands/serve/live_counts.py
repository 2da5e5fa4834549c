"""The live side of ``serve``: the kernel's own counts, and the sampled stream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from inetprobe.kernel.counting import CountingSource
from inetprobe.kernel.host import privileges
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.source import LiveOptions
from inetprobe.record.filter import Filters
from inetprobe.stats.bounds import DEFAULT_BOUNDS_NS
from inetprobe.stats.snapshot import SnapshotSource
from inetprobe.trace.pump import Source

#: Bytes. A small ring is enough: the stream has a rate limit, and its reader wakes up for every record.
RING_SIZE = 1 << 20
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to count and how.

    ``bounds_ns`` are the upper bounds of the histograms' buckets. Creations that take at least ``slow_ns`` are streamed
    as well; the stream has at most ``rate_limit`` records per second and CPU. Above ``max_rate`` creations per second
    the probes are detached (None: never). ``ring_size`` is in bytes. ``maxactive`` is None for a value that fits the
    machine. ``verbose`` is as in LiveOptions.
    """

    filters: Filters = field(default_factory=Filters)
    bounds_ns: tuple[int, ...] = DEFAULT_BOUNDS_NS
    slow_ns: int = 10_000_000
    rate_limit: int = 1000
    max_rate: int | None = None
    mechanism: str = "auto"
    maxactive: int | None = None
    ring_size: int = RING_SIZE
    verbose: bool = False


class ServeSource(Source, SnapshotSource, Protocol):
    """Counts since ``open_live`` returned, and the stream as a Source.

    ``snapshot`` and ``stop`` are called by other threads than the one in ``batches``, which ends after ``stop``.
    """

    def close(self) -> None:
        """Detaches the probes and frees everything. To be called once, after ``batches`` has ended."""


def open_live(options: ServeOptions, say: Say, go_on: Callable[[], None] = lambda: None) -> ServeSource:
    """Compiles, loads, attaches, and drops every capability that ``options`` do not need later on.

    ``go_on`` is called between the steps of attaching, and may raise to give up. Call this before another thread
    starts: that thread would keep its capabilities. Raises HostError if this machine cannot be traced, and UsageError
    for a filter that the kernel cannot decide: the counts would be wrong.
    """
    counting = Counting(options.bounds_ns, options.slow_ns, options.rate_limit)
    live = LiveOptions(
        options.filters,
        options.ring_size,
        options.maxactive,
        options.mechanism,
        counting=counting,
        verbose=options.verbose,
    )
    source = CountingSource(live, options.max_rate, say, go_on)
    with contextlib.ExitStack() as undo:
        undo.callback(source.close)
        privileges.drop(frozenset() if options.max_rate is None else privileges.attaching())
        source.start()
        undo.pop_all()
    return source
