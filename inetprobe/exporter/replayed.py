"""The counts of a recording, as the kernel would have kept them."""

from __future__ import annotations

from pathlib import Path

from inetprobe.aggregate import Aggregate
from inetprobe.check.examine import lossless, whole
from inetprobe.errors import RecordingError
from inetprobe.exporter.stream import Selected, Stream
from inetprobe.filters import Filters
from inetprobe.pipeline import pump
from inetprobe.run import Accounting
from inetprobe.snapshot import Snapshot
from inetprobe.sources.replay import ReplaySource


class ReplayedCounts:
    """Counts that stand still. ``accounting`` is that of the recorded run."""

    def __init__(self, path: Path, filters: Filters, bounds_ns: tuple[int, ...], stream: Stream, slow_ns: int) -> None:
        """Reads the whole recording; ``stream`` gets what the live one would have carried.

        Raises RecordingError for a recording that is empty, damaged, cut short or lossy: its counts would not be exact.
        """
        aggregate = Aggregate(bounds_ns)
        self.accounting: Accounting = pump(ReplaySource(path), filters, [aggregate, Selected(stream, slow_ns)])
        for case in (whole(aggregate.sockets, self.accounting), lossless(self.accounting)):
            if case.status == "unjudged":
                raise RecordingError(f"{path} {case.message}")
        if not aggregate.sockets and filters == Filters():
            raise RecordingError(f"{path} is empty: no socket was recorded")
        self._snapshot = aggregate.snapshot()

    def snapshot(self) -> Snapshot:
        """See Counts."""
        return self._snapshot
