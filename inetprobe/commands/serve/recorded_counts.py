"""The counts of a recording, as the kernel would have kept them."""

from __future__ import annotations

from pathlib import Path

from inetprobe.base.errors import RecordingError
from inetprobe.commands.serve.stream import Selected, VerdictStream
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.filter import Filters
from inetprobe.stats.recount import Recount
from inetprobe.stats.snapshot import Snapshot
from inetprobe.trace.pump import pump


class ReplayedCounts:
    """Counts that stand still. ``accounting`` is that of the recorded run."""

    def __init__(
        self, path: Path, filters: Filters, bounds_ns: tuple[int, ...], stream: VerdictStream, slow_ns: int
    ) -> None:
        """Reads the whole recording; ``stream`` gets what the live one would have carried.

        Raises RecordingError for a recording that is empty, damaged, cut short or lossy: its counts would not be exact.
        """
        aggregate = Recount(bounds_ns)
        self.accounting: Accounting = pump(RecordingReader(path), filters, [aggregate, Selected(stream, slow_ns)])
        wrong = self.accounting.damage(aggregate.sockets) or self.accounting.gap()
        if wrong is not None:
            raise RecordingError(f"{path} {wrong}")
        if not aggregate.sockets and filters == Filters():
            raise RecordingError(f"{path} is empty: no socket was recorded")
        self._snapshot = aggregate.snapshot()

    def snapshot(self) -> Snapshot:
        """The counts of the whole recording."""
        return self._snapshot
