"""The one way data flows: source → batch → filters → sinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch, Loss
from inetprobe.record.filter import Filters
from inetprobe.record.layout import reasons
from inetprobe.record.nesting import problems
from inetprobe.record.run import Run

# Records that arrived and are not shown: (why incomplete, malformed?) → how many.
Dropped = dict[tuple[str | None, bool], int]
EVERYTHING = Filters()


def pump(source: Source, filters: Filters, sinks: Sequence[Sink], limit: int | None = None) -> Accounting:
    """Everything from ``source`` that the filters keep into every sink, then the accounting; at most ``limit`` traces.

    A record whose calls do not nest is never shown: it counts as lost (``malformed``).
    Raises BrokenPipeError, after the other sinks are complete, if one's reader has gone.
    """
    dropped: Dropped = {}
    left = limit
    open_sinks = list(sinks)
    closed: BrokenPipeError | None = None
    for batch in source.batches():
        kept = _keep(batch, source, filters, dropped, left)
        for sink in list(open_sinks):
            try:
                sink.batch(kept, source.run)
            except BrokenPipeError as error:
                # Its reader has gone; a recording beside it is still finished.
                closed = error
                open_sinks.remove(sink)
                source.stop()
        if left is not None:
            left -= len(kept)
            if left <= 0:
                source.stop()
    accounting = _without(source.accounting(), dropped)
    for sink in open_sinks:
        sink.summary(accounting)
    if closed is not None:
        raise closed
    return accounting


def _keep(batch: Batch, source: Source, filters: Filters, dropped: Dropped, left: int | None) -> Batch:
    if not len(batch):
        return batch
    broken = problems(batch, source.run) != 0
    malformed = int(np.count_nonzero(broken))
    if malformed:
        _tally(dropped, batch.column("flags")[broken], malformed=True)
        batch = batch.take(np.flatnonzero(~broken), (*batch.losses, Loss("malformed", malformed)))
    if filters == EVERYTHING and (left is None or left >= len(batch)):
        return batch
    mask = filters.mask(batch.records, source.run)
    if left is not None:
        mask &= np.cumsum(mask) <= left
    if mask.all():
        return batch  # as most are where the kernel has filtered: a copy would cost more than all else here
    _tally(dropped, batch.column("flags")[~mask], malformed=False)
    return batch.take(np.flatnonzero(mask), batch.losses)


def _tally(dropped: Dropped, flags: npt.NDArray[np.uint8], *, malformed: bool) -> None:
    for reason, count in reasons(flags):
        dropped[reason, malformed] = dropped.get((reason, malformed), 0) + count


def _without(accounting: Accounting, dropped: Dropped) -> Accounting:
    """What arrived and was not shown: filtered out, or lost for being malformed."""
    for (reason, malformed), count in dropped.items():
        if malformed:
            accounting.lost["malformed"] = accounting.lost.get("malformed", 0) + count
        else:
            accounting.filtered += count
        if reason is None:
            accounting.complete -= count
        else:
            # A damaged recording's accounting may know nothing of it; then the numbers do not add up, and say so.
            accounting.incomplete[reason] = accounting.incomplete.get(reason, 0) - count
    accounting.incomplete = {reason: count for reason, count in accounting.incomplete.items() if count}
    return accounting


class Sink(Protocol):
    """Takes the batches of one run in order, then its accounting."""

    def batch(self, batch: Batch, run: Run) -> None:
        """One batch, with its losses; called with empty ones too, so that time can be kept."""

    def summary(self, accounting: Accounting) -> None:
        """The run is over."""


class Source(Protocol):
    """A source of batches of records, in the order they arrived."""

    @property
    def run(self) -> Run:
        """What is true of the whole run; its ``cgroups`` grow with the batches."""

    def batches(self) -> Iterator[Batch]:
        """Every batch; may block for the next one, and may yield empty ones."""

    def stop(self) -> None:
        """Asks ``batches`` to end soon."""

    def accounting(self) -> Accounting:
        """Where every socket went, once ``batches`` has ended."""
