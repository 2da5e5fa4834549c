"""The one way data flows: source → call traces → filters → sinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from inetprobe.base.uapi import errno_name
from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.filter import Filters
from inetprobe.record.layout import reasons
from inetprobe.record.measures import UNKNOWN_ERRNO, errnos
from inetprobe.record.nesting import NestedBatch, nested
from inetprobe.record.run import Run

EVERYTHING = Filters()


def pump(source: Source, filters: Filters, sinks: Sequence[Sink], limit: int | None = None) -> Accounting:
    """Feeds every sink with what a ``Pump`` lets through, then with the accounting, which it returns.

    Raises BrokenPipeError, after the other sinks are complete, if the reader of one has gone.
    """
    return Pump(source, filters, limit).into(sinks)


class Pump:
    """The batches of a source without the records that are not shown.

    These are records whose calls do not nest, which count as lost (``malformed``), records that the filters leave out,
    and all records beyond the first ``limit``.
    """

    def __init__(self, source: Source, filters: Filters = EVERYTHING, limit: int | None = None) -> None:
        self._source = source
        self._filters = filters
        self._left = limit
        # By the reason why a record is incomplete.
        self._malformed: Counter[str | None] = Counter()
        self._filtered: Counter[str | None] = Counter()
        self._failed: Counter[str] = Counter()
        #: Records let through so far.
        self.shown = 0

    def batches(self) -> Iterator[NestedBatch]:
        """What is left of each batch of the source, empty ones included. Raises what the source raises."""
        for batch in self._source.batches():
            shown = self._keep(batch)
            self.shown += len(shown)
            self._count_failures(shown)
            yield shown
            if self._left is not None:
                self._left -= len(shown)
                if self._left <= 0:
                    self._source.stop()

    def into(self, sinks: Sequence[Sink]) -> Accounting:
        """Feeds every sink, then gives each the accounting. Raises BrokenPipeError as ``pump`` does."""
        open_sinks = list(sinks)
        closed: BrokenPipeError | None = None
        for batch in self.batches():
            for sink in list(open_sinks):
                try:
                    sink.batch(batch, self._source.run)
                except BrokenPipeError as error:
                    # Its reader has gone; a recording beside it is still finished.
                    closed = error
                    open_sinks.remove(sink)
                    self._source.stop()
        accounting = self.accounting()
        for sink in open_sinks:
            sink.summary(accounting)
        if closed is not None:
            raise closed
        return accounting

    def accounting(self) -> Accounting:
        """The source's accounting with the records that were not shown as filtered out or lost."""
        read = self._source.accounting()
        arrived: Counter[str | None] = Counter({None: read.complete})
        arrived.update(read.incomplete)
        # A damaged recording's accounting may lack a reason of its records: then the numbers do not add up, and say so.
        arrived.subtract(self._malformed + self._filtered)
        malformed = read.lost.get("malformed", 0) + self._malformed.total()
        return replace(
            read,
            complete=arrived[None],
            incomplete={reason: count for reason, count in arrived.items() if reason is not None and count},
            lost={**read.lost, **({"malformed": malformed} if malformed else {})},
            filtered=read.filtered + self._filtered.total(),
            failed=read.failed or dict(self._failed),
        )

    def _count_failures(self, batch: Batch) -> None:
        if not len(batch):
            return
        numbers = errnos(batch.distinct.records)
        for number, count in zip(numbers.tolist(), batch.shapes.counts.tolist(), strict=True):
            if number:
                self._failed["unknown" if number == UNKNOWN_ERRNO else errno_name(number)] += count

    def _keep(self, batch: Batch) -> NestedBatch:
        if not len(batch):
            return NestedBatch(batch)
        well_formed, malformed = nested(batch, self._source.run)
        if len(malformed):
            self._malformed.update(reasons(batch.column("flags")[malformed]))
        if self._filters == EVERYTHING and (self._left is None or self._left >= len(well_formed)):
            return well_formed
        return self._filter(well_formed)

    def _filter(self, batch: NestedBatch) -> NestedBatch:
        mask = self._filters.mask(batch.records, self._source.run)
        if self._left is not None:
            mask &= np.cumsum(mask) <= self._left
        if mask.all():
            return batch  # as most are where the kernel has filtered: a copy would cost more than all else here
        self._filtered.update(reasons(batch.column("flags")[~mask]))
        return batch.take(np.flatnonzero(mask), batch.losses)


class Sink(Protocol):
    """Takes the batches of one run in order, then its accounting."""

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Takes a batch and its losses. It may be empty, and comes all the same, so that a sink can keep time."""

    def summary(self, accounting: Accounting) -> None:
        """Takes the accounting; the last call."""


class Source(Protocol):
    """A source of batches of records, in the order they arrived."""

    @property
    def run(self) -> Run:
        """The facts of the run; its ``stacks`` grow with the batches, ``cgroups`` has those of the last one."""

    def batches(self) -> Iterator[Batch]:
        """Every batch. Blocks for the next one, and may yield empty ones."""

    def stop(self) -> None:
        """Asks ``batches`` to end soon."""

    def accounting(self) -> Accounting:
        """Where every socket went, once ``batches`` has ended."""
