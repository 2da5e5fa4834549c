"""Where the time of a socket goes: the self time of each function, without the traced functions it called."""

from __future__ import annotations

import numpy as np

from inetprobe.record.accounting import Accounting
from inetprobe.record.calls import Calls
from inetprobe.record.layout import is_bare, is_incomplete
from inetprobe.record.nesting import NestedBatch
from inetprobe.record.run import Run
from inetprobe.record.self_time import self_times
from inetprobe.stats.loglinear import Latency
from inetprobe.stats.top_keys import TopKeys

# More than the functions that one run can trace, since runs can trace different functions.
_MOST = 64
_STEP = 1 << 15
# Nanoseconds, nine years: sums of longer times, in a crafted recording, would not fit.
_LONGEST = np.uint64(1 << 58)


class Stages:
    """A sink: for each function a histogram of the self times that sockets spent in it.

    Only of complete creations. A socket that calls a function twice counts once, with the sum.
    """

    def __init__(self) -> None:
        self._table: TopKeys[str] = TopKeys(_MOST, 1, timed=True)

    def batch(self, batch: NestedBatch, run: Run) -> None:
        """Adds the creations that were seen whole."""
        flags = batch.column("flags")
        rows = np.flatnonzero(~is_bare(flags) & ~is_incomplete(flags))
        for start in range(0, len(rows), _STEP):
            self._add(batch.calls.take(rows[start : start + _STEP]), run)

    def summary(self, accounting: Accounting) -> None:
        """The accounting is not needed."""

    def latencies(self) -> dict[str, Latency]:
        """The latencies by function."""
        found = ((key, self._table.latency(key)) for key, _ in self._table.items() if isinstance(key, str))
        return {key: latency for key, latency in found if latency is not None}

    def buckets(self, function: str) -> list[tuple[int, int, int]]:
        """(lowest ns, highest ns, sockets) of each bucket, ascending. Raises KeyError if no socket called it."""
        return list(self._table.buckets(function))

    def _add(self, calls: Calls, run: Run) -> None:
        own = np.maximum(self_times(calls._replace(duration_ns=np.minimum(calls.duration_ns, _LONGEST))), 0)
        socket = np.repeat(np.arange(len(calls.counts)), calls.counts)
        for number in np.unique(calls.function).tolist():
            of_function = np.flatnonzero(calls.function == number)
            first_of_socket = np.flatnonzero(np.diff(socket[of_function], prepend=-1))
            took = np.add.reduceat(own[of_function], first_of_socket).astype(np.uint64)
            rows = self._table.add([run.functions[number]], [[len(took)]])
            assert self._table.histograms is not None
            self._table.histograms.add(np.repeat(rows, len(took)), took)
