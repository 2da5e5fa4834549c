"""Where the time of a socket goes: what each function took by itself, without the traced functions that it called."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from inetprobe.loglinear import Latency
from inetprobe.record import INCOMPLETE_FLAGS, RECORD_BARE, Batch, Records
from inetprobe.run import Accounting, Run
from inetprobe.tables import Table
from inetprobe.trace import Call

# One for each function that a run can trace, and some to spare for runs that trace different ones.
_MOST = 64
_STEP = 1 << 15
_ANY_INCOMPLETE = sum(INCOMPLETE_FLAGS)
# Nine years: a recording may claim more, and sums of more would not fit.
_LONGEST = np.uint64(1 << 58)


class Stages:
    """A sink: for each function a histogram of how long a socket spent in it, that function's own time alone.

    Of creations that were seen whole. A socket that calls a function twice counts once, with both.
    """

    def __init__(self) -> None:
        self._table: Table[str] = Table(_MOST, 1, timed=True)

    def batch(self, batch: Batch, run: Run) -> None:
        """See Sink. The calls must nest, as ``pump`` sees to."""
        whole = (batch.records["flags"] & (RECORD_BARE | _ANY_INCOMPLETE)) == 0
        records = batch.take(np.flatnonzero(whole)).records
        for start in range(0, len(records), _STEP):
            self._add(records[start : start + _STEP], run)

    def summary(self, accounting: Accounting) -> None:
        """See Sink."""

    def latencies(self) -> dict[str, Latency]:
        """By function."""
        found = ((key, self._table.latency(key)) for key, _ in self._table.items() if isinstance(key, str))
        return {key: latency for key, latency in found if latency is not None}

    def buckets(self, function: str) -> list[tuple[int, int, int]]:
        """(least ns, greatest ns, sockets) of the histogram, ascending. Raises KeyError if no socket called it."""
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


def own_times(records: Records) -> npt.NDArray[np.uint64]:
    """Nanoseconds of each call slot less those of the calls right below it; the calls must nest and have returned."""
    calls = records["calls"]
    own: npt.NDArray[np.uint64] = np.minimum(calls["duration_ns"], _LONGEST)
    rows = np.arange(len(records))
    last = np.zeros((len(records), calls.shape[1] + 1), np.int64)  # the latest slot at each depth
    for slot in range(int(records["ncalls"].max(initial=0))):
        depth = calls["depth"][:, slot].astype(np.int64)
        below = (slot < records["ncalls"]) & (depth > 0)
        parents = last[rows, depth - 1]
        left, taken = own[rows[below], parents[below]], own[below, slot]
        # Calls side by side take no more than the one above them, unless somebody made them up.
        own[rows[below], parents[below]] = left - np.minimum(left, taken)
        last[rows, depth] = slot
    return own


def own_of(calls: Iterable[Call]) -> list[int | None]:
    """The same for the calls of one trace; None for a call whose end, or that of one below it, was not seen."""
    own: list[int | None] = []
    opened: list[int] = []
    for place, call in enumerate(calls):
        del opened[call.depth :]
        own.append(call.duration_ns)
        if opened:
            mine = own[opened[-1]]
            own[opened[-1]] = None if mine is None or call.duration_ns is None else max(0, mine - call.duration_ns)
        opened.append(place)
    return own
