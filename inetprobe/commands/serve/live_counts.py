"""The live side of ``serve``: the kernel's own counts, and the sampled stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from inetprobe.kernel.callbacks import CheckStop, Say, never_stop
from inetprobe.kernel.counting import CountingSource
from inetprobe.kernel.host.confinement import Kept, confine
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.stats.snapshot import SnapshotSource
from inetprobe.trace.pump import Source

#: Bytes. A small ring is enough: the stream has a rate limit, and its reader wakes up for every record.
RING_SIZE = 1 << 20


class ServeSource(Source, SnapshotSource, Protocol):
    """Counts since ``open_live`` returned, and the stream as a Source.

    ``snapshot`` and ``stop`` are called by other threads than the one in ``batches``, which ends after ``stop``.
    """

    def close(self) -> None:
        """Detaches the probes and frees everything. To be called once, after ``batches`` has ended."""


def open_live(
    options: TraceOptions, say: Say, check_stop: CheckStop = never_stop, files: Iterable[Path] = ()
) -> ServeSource:
    """Compiles, loads, attaches, and gives up every right that ``options`` do not need later on, but to read ``files``.

    ``options.counting`` must be given. Call this before another thread starts: that thread would keep its rights.
    Raises HostError if this machine cannot be traced, and UsageError for a filter that the kernel cannot decide: the
    counts would be wrong.
    """
    source = CountingSource.of_kernel(options, say, check_stop)
    with contextlib.ExitStack() as undo:
        undo.callback(source.close)
        attaches_again = options.counting is not None and options.counting.max_rate is not None
        confine(Kept(attaches=attaches_again, files=tuple(files)))
        source.start()
        undo.pop_all()
    return source
