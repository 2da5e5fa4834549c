"""Is a record a call trace? The rules, on the calls of a whole batch at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inetprobe.record.batch import Batch
from inetprobe.record.calls import Calls, Places
from inetprobe.record.layout import CALL_RETURNED
from inetprobe.record.run import Run

#: What a record breaks, by number; where it breaks several, the least counts.
RULES = {
    1: "it has no calls, or more than a record holds",
    2: "its first call is not at depth 0",
    3: "a call is deeper than a call of the one before it can be, or a second outermost call follows",
    4: "its calls are not in order of entry",
    5: "a call lasts beyond its parent",
    6: "a call is of a function this recording does not name",
}


def problems(batch: Batch, run: Run) -> npt.NDArray[np.uint8]:
    """For each record 0 where its calls are well formed, else the number of the rule it breaks."""
    calls = batch.calls
    codes = np.zeros(len(batch), np.uint8)
    ncalls = batch.column("ncalls")
    codes[(ncalls < 1) | (ncalls > calls.counts)] = 1
    if not len(calls.depth):
        return codes
    first = np.zeros(len(calls.depth), bool)
    first[calls.starts[calls.counts > 0]] = True
    _mark(codes, calls, first & (calls.depth != 0), 2)
    inner = ~first
    inner[1:] &= (calls.depth[1:] == 0) | (calls.depth[1:] - np.minimum(calls.depth[:-1], calls.depth[1:]) > 1)
    _mark(codes, calls, inner, 3)
    early = ~first
    early[1:] &= calls.start_ns[1:] < calls.start_ns[:-1]
    _mark(codes, calls, early, 4)
    _mark(codes, calls, _too_long(calls), 5)
    unknown = np.ones(256, bool)
    unknown[list(run.functions)] = False
    if unknown[: int(calls.function.max()) + 1].any():
        _mark(codes, calls, unknown[calls.function], 6)
    return codes


def _mark(codes: npt.NDArray[np.uint8], calls: Calls, where: npt.NDArray[np.bool_], code: int) -> None:
    if where.any():
        rows = calls.rows(np.flatnonzero(where))
        codes[rows[codes[rows] == 0]] = code


def _too_long(calls: Calls) -> npt.NDArray[np.bool_]:
    """Which calls end after the call they are in; one that was not seen to return ends, for all we know, as it begins,
    and sets no limit to what it calls but its own parent's. Of calls that break rule 2 or 3 this says nothing."""
    returned = (calls.flags & CALL_RETURNED) != 0
    if returned.all():
        end = calls.start_ns + calls.duration_ns
        limit = end.take(_parents(calls.depth))
    else:
        end = calls.start_ns + calls.duration_ns * returned
        parents = _parents(calls.depth)
        open_ended = np.flatnonzero(~returned[parents])
        while len(open_ended):
            above = parents[parents[open_ended]]
            open_ended = open_ended[above != parents[open_ended]]
            parents[open_ended] = parents[parents[open_ended]]
            open_ended = open_ended[~returned[parents[open_ended]]]
        limit = np.where(returned, end, np.iinfo(np.uint64).max)[parents]
    found: npt.NDArray[np.bool_] = (end > limit) | (end < calls.start_ns)  # beyond 64 bits
    return found


def _parents(depth: npt.NDArray[np.uint8]) -> Places:
    """The place of the call that each is in, an outermost one's its own; never after it, whatever the depths."""
    parents = np.arange(len(depth))
    parents -= depth > 0  # nearly always the one before
    parents[0] = 0
    others = np.flatnonzero(depth[1:] <= depth[:-1]) + 1
    for level in np.unique(depth[others]).tolist():
        if level:
            above = np.flatnonzero(depth == level - 1)
            mine = others[depth[others] == level]
            before = np.searchsorted(above, mine)
            parents[mine] = np.where(before > 0, above[before - 1], 0) if len(above) else 0
    return parents
