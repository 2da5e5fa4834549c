"""The live side of ``serve``: the kernel's own counts, and a stream of what needs an explanation."""

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
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS
from inetprobe.stats.snapshot import SnapshotSource
from inetprobe.trace.pump import Source

#: Bytes: the stream has a rate limit, and its reader wakes up for every record.
RING_SIZE = 1 << 20
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to count and how.

    ``bounds_ns`` are the histograms' bounds; the stream carries creations of at least ``slow_ns``, and at most
    ``rate_limit`` records a second and CPU. Above ``max_rate`` creations a second the probes are detached; None: never.
    ``ring_size`` is in bytes; ``maxactive`` None for what the machine calls for; ``verbose`` as of
    LiveOptions.
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

    ``snapshot`` is called while another thread is in ``batches``; ``stop`` by a third. ``batches`` ends after ``stop``.
    """

    def close(self) -> None:
        """Takes the probes away and frees everything; to be called once, after ``batches`` has ended."""


def open_live(options: ServeOptions, say: Say, go_on: Callable[[], None] = lambda: None) -> ServeSource:
    """Compiles, loads, attaches, and gives up every capability that ``options`` do not need later on.

    ``go_on`` is called between the steps, whenever probes are set, and may raise to give up.
    It must be called before another thread begins, since that would keep its capabilities. Raises HostError where this
    machine cannot be traced, and UsageError for a filter that the kernel cannot decide: its counts would be others.
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
