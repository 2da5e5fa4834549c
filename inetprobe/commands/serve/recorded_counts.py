"""The counts of a recording, as the kernel would have kept them."""

from __future__ import annotations

from pathlib import Path

from inetprobe.base.errors import RecordingError
from inetprobe.commands.serve.stream import StreamSelector, VerdictStream
from inetprobe.record.accounting import Accounting
from inetprobe.record.arrow.reader import RecordingReader
from inetprobe.record.filter import Filters
from inetprobe.stats.recount import Recount
from inetprobe.stats.snapshot import Snapshot
from inetprobe.trace.pump import pump


class ReplayedCounts:
    """The counts of one recording, which do not change. ``accounting`` is that of the recorded run."""

    def __init__(
        self, path: Path, filters: Filters, bounds_ns: tuple[int, ...], stream: VerdictStream, slow_ns: int
    ) -> None:
        """Reads the whole recording. ``stream`` gets the records that the kernel would have streamed live.

        Raises RecordingError for a recording that is empty, damaged, cut short or lossy: its counts would not be exact.
        """
        recount = Recount(bounds_ns)
        self.accounting: Accounting = pump(RecordingReader(path), filters, [recount, StreamSelector(stream, slow_ns)])
        fault = self.accounting.damage(recount.sockets) or self.accounting.gap()
        if fault is not None:
            raise RecordingError(f"{path} {fault}")
        if not recount.sockets and filters == Filters():
            raise RecordingError(f"{path} is empty: no socket was recorded")
        self._snapshot = recount.snapshot()

    def snapshot(self) -> Snapshot:
        """The counts of the recording, the same each time."""
        return self._snapshot
