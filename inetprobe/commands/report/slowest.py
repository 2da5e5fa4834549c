"""The slowest sockets of a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.layout import Records, is_bare
from inetprobe.record.measures import seen
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.trace.call_trace import CallTrace, call_traces


class Slowest:
    """A sink of one run that keeps the ``most`` slowest creations, of those whose end was seen."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: Records | None = None
        self._least: int | None = None
        self._run: Run | None = None

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Keeps the records of a batch that are among the slowest so far."""
        self._run = run
        records = batch.records
        took = records["calls"]["duration_ns"][:, 0]
        wanted = seen(records) & ~is_bare(records["flags"])
        candidates = records[wanted if self._least is None else wanted & (took > np.uint64(self._least))]
        if not len(candidates) or not self._most:
            return
        # A copy: a view would keep the whole batch in memory.
        together = candidates.copy() if self._kept is None else np.concatenate([self._kept, candidates])
        order = np.argsort(together["calls"]["duration_ns"][:, 0], kind="stable")[::-1][: self._most]
        self._kept = together[order]
        if len(order) == self._most:
            self._least = int(self._kept["calls"]["duration_ns"][-1, 0])

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""

    def traces(self) -> Iterator[CallTrace]:
        """Those kept, the slowest first."""
        if self._kept is not None and self._run is not None:
            yield from call_traces(NestedBatch(Batch(self._kept)), self._run)  # rows of nested batches
