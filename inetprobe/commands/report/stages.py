"""Where the time of a socket goes: the self time of each function, without the traced functions it called."""

from __future__ import annotations

import numpy as np

from inetprobe.record.accounting import Accounting
from inetprobe.record.batch import Batch
from inetprobe.record.layout import INCOMPLETE_FLAGS, RECORD_BARE, Records
from inetprobe.record.run import Run
from inetprobe.record.self_time import own_times
from inetprobe.stats.loglinear import Latency
from inetprobe.stats.top_keys import TopKeys

# More than the functions that one run can trace, since runs can trace different functions.
_MOST = 64
_STEP = 1 << 15
_ANY_INCOMPLETE = sum(INCOMPLETE_FLAGS)


class Stages:
    """A sink: for each function a histogram of the self times that sockets spent in it.

    Only of complete creations. A socket that calls a function twice counts once, with the sum.
    """

    def __init__(self) -> None:
        self._table: TopKeys[str] = TopKeys(_MOST, 1, timed=True)

    def batch(self, batch: Batch, run: Run) -> None:
        """See Sink. The calls must nest, which ``pump`` ensures."""
        whole = (batch.records["flags"] & (RECORD_BARE | _ANY_INCOMPLETE)) == 0
        records = batch.take(np.flatnonzero(whole)).records
        for start in range(0, len(records), _STEP):
            self._add(records[start : start + _STEP], run)

    def summary(self, accounting: Accounting) -> None:
        """See Sink."""

    def latencies(self) -> dict[str, Latency]:
        """The latencies by function."""
        found = ((key, self._table.latency(key)) for key, _ in self._table.items() if isinstance(key, str))
        return {key: latency for key, latency in found if latency is not None}

    def buckets(self, function: str) -> list[tuple[int, int, int]]:
        """(lowest ns, highest ns, sockets) of each bucket, ascending. Raises KeyError if no socket called it."""
        return list(self._table.buckets(function))

    def _add(self, records: Records, run: Run) -> None:
        used = np.arange(records["calls"].shape[1]) < records["ncalls"][:, None]
        own = own_times(records)
        functions = records["calls"]["function"]
        for number in np.unique(functions[used]).tolist():
            here = used & (functions == number)
            called = here.any(axis=1)
            took = np.where(here, own, np.uint64(0)).sum(axis=1)[called]
            rows = self._table.add([run.functions[number]], [[int(np.count_nonzero(called))]])
            assert self._table.histograms is not None
            self._table.histograms.add(np.repeat(rows, len(took)), took)
